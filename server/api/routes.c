/* All routes of the API. openapi.json describes them; a test holds the two together. */
#include "router.h"
#include "handlers.h"

#define V1 "/api/v1"
#define JSON "application/json"
#define LINES "application/x-ndjson"

const struct route routes[] = {
    {"GET", V1 "/status", ROLE_VIEWER, BODY_NONE, false, {JSON}, {NULL}, status_step},
    {"GET", V1 "/hosts", ROLE_VIEWER, BODY_NONE, false, {LINES}, {"group", "silent_s"}, hosts_step},
    {"GET", V1 "/hosts/{host}", ROLE_VIEWER, BODY_NONE, false, {JSON}, {NULL}, host_step},
    {"POST", V1 "/hosts/{host}/revoke", ROLE_OPERATOR, BODY_JSON, false, {JSON}, {NULL}, revoke_step},
    {"POST", V1 "/hosts/{host}/approve", ROLE_OPERATOR, BODY_JSON, false, {JSON}, {NULL}, approve_step},
    {"POST", V1 "/hosts/{host}/tags", ROLE_OPERATOR, BODY_JSON, false, {JSON}, {NULL}, tags_step},
    {"GET", V1 "/pending", ROLE_VIEWER, BODY_NONE, false, {LINES}, {NULL}, pending_step},
    {"GET", V1 "/tokens", ROLE_OPERATOR, BODY_NONE, false, {LINES}, {NULL}, tokens_step},
    {"POST", V1 "/tokens", ROLE_OPERATOR, BODY_JSON, false, {JSON}, {NULL}, token_create_step},
    {"POST", V1 "/tokens/{id}/revoke", ROLE_OPERATOR, BODY_JSON, false, {JSON}, {NULL}, token_revoke_step},
    {"GET",
     V1 "/hosts/{host}/events",
     ROLE_VIEWER,
     BODY_NONE,
     true,
     {LINES, JSON, "text/plain; charset=utf-8", "text/csv; charset=utf-8"},
     {"since", "until", "id", "guid", "where*", "search", "limit", "reverse", "follow", "count", "format"},
     events_step},
    {"GET",
     V1 "/hosts/{host}/tree",
     ROLE_VIEWER,
     BODY_NONE,
     true,
     {LINES, "text/plain; charset=utf-8"},
     {"guid", "pid", "at", "format"},
     tree_step},
    {"GET", V1 "/ledger", ROLE_VIEWER, BODY_NONE, true, {LINES}, {"host", "holes"}, ledger_step},
    {"POST", V1 "/hosts/{host}/import", ROLE_OPERATOR, BODY_STREAM, false, {JSON}, {NULL}, import_step},
    {"POST", V1 "/backup", ROLE_ADMIN, BODY_JSON, false, {LINES}, {NULL}, backup_step},
    {"GET", V1 "/audit", ROLE_OPERATOR, BODY_NONE, false, {LINES}, {"from", "reverse", "limit"}, audit_step},
    {"GET",
     "/metrics",
     ROLE_VIEWER,
     BODY_NONE,
     false,
     {"text/plain; version=0.0.4; charset=utf-8"},
     {NULL},
     metrics_step},
    {"GET", V1 "/openapi.json", ROLE_VIEWER, BODY_NONE, false, {JSON}, {NULL}, openapi_step},
};
const size_t n_routes = sizeof routes / sizeof *routes;
