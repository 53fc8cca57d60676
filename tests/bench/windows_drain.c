/* What reading an Event Log costs by itself: takes the records of a channel as the agent does, renders them, and drops them.
 *
 *     windows_drain CHANNEL N        prints the number of records each time that another N have come, for ever
 */
#include <windows.h>
#include <winevt.h>

#include <stdio.h>
#include <stdlib.h>

#define BATCH 64
#define RENDER (4u * 1024 * 1024)

static unsigned char text[RENDER];

int main(int argc, char **argv) {
    EVT_HANDLE events[BATCH];
    wchar_t channel[256];
    DWORD n = 0, used = 0, properties = 0;
    unsigned long long want = argc > 2 ? strtoull(argv[2], NULL, 10) : 0, got = 0;
    if (!want || !MultiByteToWideChar(CP_UTF8, 0, argv[1], -1, channel, 256)) return 2;
    HANDLE signal = CreateEventW(NULL, TRUE, FALSE, NULL);
    EVT_HANDLE s = EvtSubscribe(NULL, signal, channel, L"*", NULL, NULL, NULL, EvtSubscribeStartAtOldestRecord);
    if (!s) return 1;
    printf("ready\n");
    fflush(stdout);
    for (;;) {
        ResetEvent(signal);
        if (!EvtNext(s, BATCH, events, 0, 0, &n)) {
            WaitForSingleObject(signal, 50);
            continue;
        }
        for (DWORD i = 0; i < n; i++) {
            if (EvtRender(NULL, events[i], EvtRenderEventXml, RENDER, text, &used, &properties) && ++got % want == 0) {
                printf("%llu\n", got);
                fflush(stdout);
            }
            EvtClose(events[i]);
        }
    }
}
