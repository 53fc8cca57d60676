/* Reports. */
#include "report.h"
#include "text.h"

#include <inttypes.h>

static double per(double n, double by) {
    return by > 0 ? n / by : 0;
}

static double ms_at(const struct swarm_report *r, double part) {
    return (double)histogram_at(&r->latency_us, part) / 1000;
}

bool report_is_good(const struct swarm_report *r) {
    return !r->lost_events && !r->rejected_batches && !r->failed && r->welcomes >= r->agents;
}

void report_line(struct buf *out, const char *phase, const struct swarm_report *r) {
    if (!r->seconds) {
        buf_printf(out, "%s: %" PRIu32 " of %" PRIu32 " agents up, %" PRIu64 " enrolled, %" PRIu64 " refused", phase,
                   r->up, r->agents, r->enrolled, r->failed);
        return;
    }
    buf_printf(out, "%s: %.0f s, %" PRIu64 " events acked, %.0f/s, ack p50 %.1f p99 %.1f ms, %" PRIu32 " agents up",
               phase, r->seconds, r->acked_events, per((double)r->acked_events, r->seconds), ms_at(r, 0.5),
               ms_at(r, 0.99), r->up);
}

void report_text(struct buf *out, const struct swarm_report *r) {
    double n = (double)r->acked_events;
    buf_printf(out, "agents          %" PRIu64 " of %" PRIu32 " welcomed in %.1f s: %.0f handshakes/s", r->welcomes,
               r->agents, r->opening_s, per((double)(r->welcomes + r->enrolled), r->opening_s));
    buf_printf(out, " (%" PRIu64 " enrolled, %" PRIu64 " reconnects, %" PRIu64 " refused)\n", r->enrolled,
               r->reconnects, r->failed);
    if (r->rules_offers) {
        buf_printf(out, "rules           %" PRIu64 " offers, loaded %" PRIu64 " times\n", r->rules_offers,
                   r->rules_loaded);
    }
    if (r->prepared_events > 0) {
        buf_printf(out, "made ahead      %.0f events in %.1f s; %" PRIu64 " batches were made while sending\n",
                   r->prepared_events, r->preparing_s, r->live_batches);
    }
    buf_printf(out,
               "events          %" PRIu64 " sent, %" PRIu64 " acked, %" PRIu64 " rejected, %" PRIu64
               " lost, in %.2f s\n",
               r->sent_events, r->acked_events, r->rejected_events, r->lost_events, r->seconds);
    buf_printf(out, "rate            %.0f events/s, %.0f batches/s, %.1f MB/s\n", per(n, r->seconds),
               per((double)r->acked_batches, r->seconds), per((double)r->sent_bytes / 1e6, r->seconds));
    buf_printf(out, "a batch         %.1f events, %.0f bytes, %.1f bytes an event; %" PRIu64 " sent again\n",
               per((double)r->sent_events, (double)r->sent_batches),
               per((double)r->sent_bytes, (double)r->sent_batches), per((double)r->sent_bytes, (double)r->sent_events),
               r->resent_batches);
    buf_printf(out, "ack latency     p50 %.2f  p90 %.2f  p99 %.2f  max %.2f ms\n", ms_at(r, 0.5), ms_at(r, 0.9),
               ms_at(r, 0.99), (double)r->latency_us.max / 1000);
    buf_printf(out, "this program    %.2f CPU s while sending, %.2f s a million events, %.0f MB at most\n", r->cpu_s,
               per(r->cpu_s * 1e6, n), (double)r->rss_bytes / 1e6);
    if (r->rejection[0]) buf_printf(out, "first rejection %s\n", r->rejection);
    if (r->trouble[0]) buf_printf(out, "last trouble    %s\n", r->trouble);
}

static void put_text(struct buf *out, const char *name, const char *text) {
    buf_printf(out, ",\"%s\":\"", name);
    text_json(out, slice_str(text));
    buf_byte(out, '"');
}

void report_json(struct buf *out, const struct swarm_report *r) {
    double n = (double)r->acked_events;
    buf_printf(out,
               "{\"agents\":%" PRIu32 ",\"welcomes\":%" PRIu64 ",\"enrolled\":%" PRIu64 ",\"reconnects\":%" PRIu64
               ",\"refused\":%" PRIu64 ",\"opening_s\":%.3f,\"handshakes_per_s\":%.1f",
               r->agents, r->welcomes, r->enrolled, r->reconnects, r->failed, r->opening_s,
               per((double)(r->welcomes + r->enrolled), r->opening_s));
    buf_printf(out, ",\"prepared_events\":%.0f,\"preparing_s\":%.3f,\"live_batches\":%" PRIu64, r->prepared_events,
               r->preparing_s, r->live_batches);
    buf_printf(out,
               ",\"events_sent\":%" PRIu64 ",\"events_acked\":%" PRIu64 ",\"events_rejected\":%" PRIu64
               ",\"events_lost\":%" PRIu64 ",\"batches_sent\":%" PRIu64 ",\"batches_acked\":%" PRIu64
               ",\"batches_rejected\":%" PRIu64 ",\"batches_resent\":%" PRIu64 ",\"bytes_sent\":%" PRIu64,
               r->sent_events, r->acked_events, r->rejected_events, r->lost_events, r->sent_batches, r->acked_batches,
               r->rejected_batches, r->resent_batches, r->sent_bytes);
    buf_printf(out, ",\"seconds\":%.3f,\"events_per_s\":%.1f,\"batches_per_s\":%.1f,\"bytes_per_event\":%.2f",
               r->seconds, per(n, r->seconds), per((double)r->acked_batches, r->seconds),
               per((double)r->sent_bytes, (double)r->sent_events));
    buf_printf(out, ",\"ack_ms\":{\"p50\":%.3f,\"p90\":%.3f,\"p99\":%.3f,\"max\":%.3f}", ms_at(r, 0.5), ms_at(r, 0.9),
               ms_at(r, 0.99), (double)r->latency_us.max / 1000);
    buf_printf(out, ",\"rules_offers\":%" PRIu64 ",\"rules_loaded\":%" PRIu64, r->rules_offers, r->rules_loaded);
    buf_printf(out, ",\"cpu_s\":%.3f,\"rss_bytes\":%" PRIu64, r->cpu_s, r->rss_bytes);
    put_text(out, "first_rejection", r->rejection);
    put_text(out, "last_trouble", r->trouble);
    buf_str(out, "}\n");
}
