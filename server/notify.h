/* Tells systemd how the service is (sd_notify's protocol: a datagram to NOTIFY_SOCKET); nothing without systemd. */
#ifndef HAECHI_NOTIFY_H
#define HAECHI_NOTIFY_H

void notify_send(const char *state); /* "READY=1", "STOPPING=1", "WATCHDOG=1", "STATUS=..." */
unsigned notify_watchdog_ms(void);   /* how often it wants to hear WATCHDOG=1, halved; 0: not at all */

#endif
