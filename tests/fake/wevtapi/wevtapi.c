/* A stand-in for Windows' wevtapi.dll, put beside the agent under Wine. Each channel is a text file of event XML, one event a line, in
 * the folder "channels" beside this DLL; '/' in a channel's name is '%' in the file's. Appending to the file writes events, replacing or
 * shortening it is what happens to a log (cleared, wrapped, deleted).
 *
 * Faults stand in "channels/control", one a line, looked at whenever it changes; a line works `times` times (default 1):
 *
 *     next CHANNEL ERROR [TIMES]       EvtNext fails with ERROR; 1734 moves the position on by the batch, 4317 and 15011 and 15012
 *                                      leave the subscription dead; ERROR 0: it succeeds with nothing
 *     subscribe CHANNEL ERROR [TIMES]  EvtSubscribe fails
 *     strict CHANNEL [TIMES]           a strict subscription fails with 1168 although the record is there
 *     loginfo CHANNEL ERROR [TIMES]    EvtOpenLog fails
 *     render small [TIMES]             EvtRender "succeeds" with the text cut in the middle
 *     render ERROR [TIMES]             EvtRender fails
 *     silent CHANNEL [TIMES]           the signal is not set when events come (TIMES of these)
 *     dead CHANNEL                     the next subscription in use gives nothing any more, without an error
 *     size CHANNEL BYTES MAX           what EvtGetLogInfo says of the file
 *
 * What was injected is noted in "channels/injected", one line each. One process, few threads: one lock around everything. */
#include <windows.h>
#include <winevt.h>

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CHANNELS_MAX 16
#define FAULTS_MAX 64
#define POLL_MS 20
#define CONTROL_MS 15
#define NOTHING UINT32_MAX /* success without a record */

struct record {
    uint64_t id;
    size_t at, len; /* in the channel's text */
};

struct channel {
    char name[256];
    char path[MAX_PATH];
    char *text;
    size_t text_len;
    struct record *records;
    size_t n, cap;
    uint64_t bytes, max_bytes; /* told; 0: the file's */
    uint64_t version;          /* of the file: grows when it was not just appended to */
    uint64_t stamp, size;
};

enum what { SUBSCRIPTION, QUERY, EVENT, BOOKMARK, LOG, CONFIG };
struct object {
    enum what what;
    struct channel *channel;
    uint64_t next_id; /* SUBSCRIPTION, QUERY: what comes next is at least this; BOOKMARK: the record; 0: none */
    HANDLE signal;
    uint64_t told; /* newest id that the signal was set for */
    uint64_t version;
    bool dead;
    char *xml; /* EVENT */
    uint64_t id;
    char filter[128]; /* event id of a query "*[System[(EventID=N)]]", as text; "" all */
    struct object *link;
};

struct fault {
    char kind[16], channel[256];
    unsigned error, times;
    bool cut;
};

static CRITICAL_SECTION lock;
static char folder[MAX_PATH];
static struct channel channels[CHANNELS_MAX];
static size_t n_channels;
static struct fault faults[FAULTS_MAX];
static size_t n_faults;
static uint64_t control_stamp;
static struct object *subscriptions;

/* ---- files ---- */

static void note(const char *kind, const char *channel, unsigned error) {
    char path[MAX_PATH + 16];
    snprintf(path, sizeof path, "%s\\injected", folder);
    FILE *f = fopen(path, "ab");
    if (!f) return;
    fprintf(f, "%s %s %u\n", kind, channel, error);
    fclose(f);
}

static uint64_t stamp_of(const char *path, uint64_t *ret_size) {
    WIN32_FILE_ATTRIBUTE_DATA d;
    if (!GetFileAttributesExA(path, GetFileExInfoStandard, &d)) return 0;
    if (ret_size) *ret_size = (uint64_t)d.nFileSizeHigh << 32 | d.nFileSizeLow;
    return ((uint64_t)d.ftLastWriteTime.dwHighDateTime << 32 | d.ftLastWriteTime.dwLowDateTime) + 1;
}

static char *read_all(const char *path, size_t *ret_len) {
    HANDLE h = CreateFileA(path, GENERIC_READ, FILE_SHARE_READ | FILE_SHARE_WRITE | FILE_SHARE_DELETE, NULL,
                           OPEN_EXISTING, 0, NULL);
    if (h == INVALID_HANDLE_VALUE) return NULL;
    LARGE_INTEGER size;
    GetFileSizeEx(h, &size);
    char *text = malloc((size_t)size.QuadPart + 1);
    DWORD got = 0;
    if (text && !ReadFile(h, text, (DWORD)size.QuadPart, &got, NULL)) got = 0;
    CloseHandle(h);
    if (!text) return NULL;
    text[got] = 0;
    *ret_len = got;
    return text;
}

static uint64_t id_of(const char *line, size_t len) {
    static const char tag[] = "<EventRecordID>";
    for (size_t i = 0; i + sizeof tag < len; i++) {
        if (line[i] == '<' && memcmp(line + i, tag, sizeof tag - 1) == 0)
            return strtoull(line + i + sizeof tag - 1, NULL, 10);
    }
    return 0;
}

/* Whole lines only: a writer may be in the middle of one. */
static void index_text(struct channel *c) {
    c->n = 0;
    for (size_t at = 0; at < c->text_len;) {
        char *nl = memchr(c->text + at, '\n', c->text_len - at);
        if (!nl) break;
        size_t len = (size_t)(nl - c->text) - at;
        uint64_t id = id_of(c->text + at, len);
        if (id) {
            if (c->n == c->cap) {
                c->cap = c->cap ? c->cap * 2 : 1024;
                c->records = realloc(c->records, c->cap * sizeof *c->records);
                if (!c->records) abort();
            }
            c->records[c->n++] = (struct record){id, at, len};
        }
        at += len + 1;
    }
}

/* False: there is no such channel. */
static bool refresh(struct channel *c) {
    uint64_t size = 0, stamp = stamp_of(c->path, &size);
    if (!stamp) {
        c->n = 0;
        c->stamp = 0;
        return false;
    }
    if (stamp == c->stamp && size == c->size) return true;
    size_t len = 0;
    char *text = read_all(c->path, &len);
    if (!text) return true; /* being replaced */
    if (c->text && (len < c->text_len || memcmp(text, c->text, c->text_len) != 0)) c->version++;
    free(c->text);
    c->text = text;
    c->text_len = len;
    c->stamp = stamp;
    c->size = size;
    index_text(c);
    return true;
}

static struct channel *channel_of(const wchar_t *wide) {
    char name[256];
    if (!wide || !WideCharToMultiByte(CP_UTF8, 0, wide, -1, name, sizeof name, NULL, NULL)) return NULL;
    for (size_t i = 0; i < n_channels; i++) {
        if (strcmp(channels[i].name, name) == 0) return &channels[i];
    }
    if (n_channels == CHANNELS_MAX) return NULL;
    struct channel *c = &channels[n_channels++];
    memcpy(c->name, name, sizeof name);
    snprintf(c->path, sizeof c->path, "%s\\%s", folder, name);
    for (char *p = c->path + strlen(folder) + 1; *p; p++) {
        if (*p == '/') *p = '%';
    }
    return c;
}

/* ---- faults ---- */

static void read_control(void) {
    static ULONGLONG looked;
    char path[MAX_PATH + 16];
    size_t len = 0;
    if (GetTickCount64() - looked < CONTROL_MS) return; /* a look costs more than an event */
    looked = GetTickCount64();
    snprintf(path, sizeof path, "%s\\control", folder);
    uint64_t stamp = stamp_of(path, NULL);
    if (!stamp || stamp == control_stamp) return;
    char *text = read_all(path, &len);
    if (!text) return;
    control_stamp = stamp;
    n_faults = 0;
    for (char *line = text; line && *line && n_faults < FAULTS_MAX;) {
        char *nl = strchr(line, '\n'), a[256] = "", b[32] = "", d[32] = "";
        struct fault f = {.times = 1};
        if (nl) *nl = 0;
        int got = sscanf(line, "%15s %255s %31s %31s", f.kind, a, b, d);
        line = nl ? nl + 1 : NULL;
        if (got < 2) continue;
        snprintf(f.channel, sizeof f.channel, "%s", a);
        if (strcmp(f.kind, "render") == 0) {
            f.cut = strcmp(a, "small") == 0;
            f.error = f.cut ? 0 : (unsigned)atoi(a);
            if (got > 2) f.times = (unsigned)atoi(b);
        } else if (strcmp(f.kind, "size") == 0) {
            for (size_t i = 0; i < n_channels; i++) {
                if (strcmp(channels[i].name, a) != 0) continue;
                channels[i].bytes = strtoull(b, NULL, 10);
                channels[i].max_bytes = strtoull(d, NULL, 10);
            }
            continue;
        } else if (strcmp(f.kind, "strict") == 0 || strcmp(f.kind, "silent") == 0 || strcmp(f.kind, "dead") == 0) {
            if (got > 2) f.times = (unsigned)atoi(b);
        } else {
            f.error = (unsigned)atoi(b);
            if (got > 3) f.times = (unsigned)atoi(d);
        }
        faults[n_faults++] = f;
    }
    free(text);
}

/* The fault that is due now, used up by one; NULL: none. */
static struct fault *due(const char *kind, const char *channel) {
    read_control();
    for (size_t i = 0; i < n_faults; i++) {
        struct fault *f = &faults[i];
        if (!f->times || strcmp(f->kind, kind) != 0 || (channel && strcmp(f->channel, channel) != 0)) continue;
        f->times--;
        note(kind, channel ? channel : "-", f->error);
        return f;
    }
    return NULL;
}

/* ---- signals ---- */

static DWORD WINAPI signal_thread(void *unused) {
    (void)unused;
    for (;;) {
        Sleep(POLL_MS);
        EnterCriticalSection(&lock);
        for (struct object *o = subscriptions; o; o = o->link) {
            if (!refresh(o->channel) || !o->channel->n) continue;
            uint64_t newest = o->channel->records[o->channel->n - 1].id;
            if (o->version == o->channel->version && newest == o->told) continue;
            bool silent = o->told && due("silent", o->channel->name);
            o->told = newest;
            if (!silent && !o->dead) SetEvent(o->signal);
        }
        LeaveCriticalSection(&lock);
    }
    return 0;
}

BOOL WINAPI DllMain(HINSTANCE module, DWORD why, LPVOID reserved);
BOOL WINAPI DllMain(HINSTANCE module, DWORD why, LPVOID reserved) {
    (void)reserved;
    if (why != DLL_PROCESS_ATTACH) return TRUE;
    InitializeCriticalSection(&lock);
    GetModuleFileNameA(module, folder, sizeof folder - 16);
    char *slash = strrchr(folder, '\\');
    if (slash) *slash = 0;
    strcat(folder, "\\channels");
    HANDLE t = CreateThread(NULL, 64 * 1024, signal_thread, NULL, 0, NULL);
    if (t) CloseHandle(t);
    return TRUE;
}

/* ---- the API ---- */

static struct object *make(enum what what, struct channel *c) {
    struct object *o = calloc(1, sizeof *o);
    if (!o) abort();
    o->what = what;
    o->channel = c;
    return o;
}

static void *refuse(unsigned error) {
    SetLastError(error);
    return NULL;
}

static size_t first_from(const struct channel *c, uint64_t id) {
    size_t lo = 0, hi = c->n;
    while (lo < hi) {
        size_t mid = (lo + hi) / 2;
        if (c->records[mid].id < id)
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo;
}

static bool has_record(const struct channel *c, uint64_t id) {
    size_t i = first_from(c, id);
    return i < c->n && c->records[i].id == id;
}

static void set_filter(struct object *o, const wchar_t *query) {
    static const wchar_t key[] = L"EventID=";
    const wchar_t *p = query ? wcsstr(query, key) : NULL;
    size_t n = 0;
    if (!p) return;
    for (p += wcslen(key); *p >= L'0' && *p <= L'9' && n < 10; p++) o->filter[n++] = (char)*p;
}

static bool matches(const struct object *o, const char *line, size_t len) {
    char tag[160];
    size_t n = (size_t)snprintf(tag, sizeof tag, "<EventID>%s</EventID>", o->filter);
    if (!*o->filter) return true;
    for (size_t i = 0; i + n <= len; i++) {
        if (line[i] == '<' && memcmp(line + i, tag, n) == 0) return true;
    }
    return false;
}

EVT_HANDLE WINAPI EvtCreateBookmark(LPCWSTR xml) {
    struct object *o = make(BOOKMARK, NULL);
    const wchar_t *p = xml ? wcsstr(xml, L"RecordId='") : NULL;
    if (xml && !p) {
        free(o);
        return refuse(ERROR_INVALID_PARAMETER);
    }
    if (p) o->next_id = _wcstoui64(p + 10, NULL, 10);
    return o;
}

EVT_HANDLE WINAPI EvtSubscribe(EVT_HANDLE session, HANDLE signal, LPCWSTR channel, LPCWSTR query, EVT_HANDLE bookmark,
                               PVOID ctx, EVT_SUBSCRIBE_CALLBACK callback, DWORD flags) {
    struct object *mark = bookmark, *o = NULL;
    struct fault *f = NULL;
    (void)ctx;
    if (session || callback || !signal) return refuse(ERROR_INVALID_PARAMETER);
    EnterCriticalSection(&lock);
    struct channel *c = channel_of(channel);
    unsigned error = 0, origin = flags & EvtSubscribeOriginMask;
    if (!c || !refresh(c))
        error = ERROR_EVT_CHANNEL_NOT_FOUND;
    else if ((f = due("subscribe", c->name)))
        error = f->error;
    else if (origin == EvtSubscribeToFutureEvents || (origin == EvtSubscribeStartAfterBookmark && !mark))
        error = ERROR_INVALID_PARAMETER;
    else if (origin == EvtSubscribeStartAfterBookmark && flags & EvtSubscribeStrict &&
             (!has_record(c, mark->next_id) || due("strict", c->name)))
        error = ERROR_NOT_FOUND;
    if (!error) {
        o = make(SUBSCRIPTION, c);
        o->signal = signal;
        o->version = c->version;
        o->next_id = origin == EvtSubscribeStartAfterBookmark ? mark->next_id + 1 : 0;
        set_filter(o, query);
        o->link = subscriptions;
        subscriptions = o;
        if (c->n) o->told = c->records[c->n - 1].id;
        SetEvent(signal);
    }
    LeaveCriticalSection(&lock);
    if (error) SetLastError(error);
    return o;
}

EVT_HANDLE WINAPI EvtQuery(EVT_HANDLE session, LPCWSTR path, LPCWSTR query, DWORD flags) {
    if (session || !(flags & EvtQueryChannelPath)) return refuse(ERROR_INVALID_PARAMETER);
    EnterCriticalSection(&lock);
    struct channel *c = channel_of(path);
    bool there = c && refresh(c);
    struct object *o = there ? make(QUERY, c) : NULL;
    if (o) {
        o->version = c->version;
        set_filter(o, query);
    }
    LeaveCriticalSection(&lock);
    return o ? o : refuse(ERROR_EVT_CHANNEL_NOT_FOUND);
}

WINBOOL WINAPI EvtSeek(EVT_HANDLE results, LONGLONG position, EVT_HANDLE bookmark, DWORD timeout, DWORD flags) {
    struct object *o = results, *mark = bookmark;
    (void)timeout;
    if (position || (flags & EvtSeekOriginMask) != EvtSeekRelativeToBookmark) {
        SetLastError(ERROR_INVALID_PARAMETER);
        return FALSE;
    }
    EnterCriticalSection(&lock);
    bool found = has_record(o->channel, mark->next_id);
    o->next_id = mark->next_id;
    LeaveCriticalSection(&lock);
    if (found || !(flags & EvtSeekStrict)) return TRUE;
    SetLastError(ERROR_NOT_FOUND);
    return FALSE;
}

static unsigned next_fault(struct object *o, DWORD want) {
    struct fault *f = due("next", o->channel->name);
    if (due("dead", o->channel->name)) o->dead = true;
    if (!f) return 0;
    if (f->error == 1734) { /* the position moves on although nothing is given */
        size_t i = first_from(o->channel, o->next_id);
        size_t to = i + want < o->channel->n ? i + want : o->channel->n;
        if (to) o->next_id = o->channel->records[to - 1].id + 1;
    } else if (f->error == 4317 || f->error == ERROR_EVT_QUERY_RESULT_STALE ||
               f->error == ERROR_EVT_QUERY_RESULT_INVALID_POSITION) {
        o->dead = true;
    }
    return f->error ? f->error : NOTHING;
}

static unsigned next_records(struct object *o, DWORD size, EVT_HANDLE *events, DWORD *ret_n) {
    struct channel *c = o->channel;
    DWORD n = 0;
    if (!refresh(c)) return ERROR_EVT_CHANNEL_NOT_FOUND;
    if (o->what == SUBSCRIPTION) {
        unsigned error = next_fault(o, size);
        if (error) return error == NOTHING ? 0 : error;
        if (o->dead) return ERROR_NO_MORE_ITEMS;
        if (o->version != c->version) return ERROR_EVT_QUERY_RESULT_STALE;
    }
    for (size_t i = first_from(c, o->next_id); i < c->n && n < size; i++) {
        const struct record *r = &c->records[i];
        o->next_id = r->id + 1;
        if (!matches(o, c->text + r->at, r->len)) continue;
        struct object *e = make(EVENT, c);
        e->id = r->id;
        e->xml = malloc(r->len + 1);
        if (!e->xml) abort();
        memcpy(e->xml, c->text + r->at, r->len);
        e->xml[r->len] = 0;
        events[n++] = e;
    }
    *ret_n = n;
    return n ? 0 : ERROR_NO_MORE_ITEMS;
}

WINBOOL WINAPI EvtNext(EVT_HANDLE results, DWORD size, EVT_HANDLE *events, DWORD timeout, DWORD flags, PDWORD ret_n) {
    struct object *o = results;
    (void)timeout;
    (void)flags;
    *ret_n = 0;
    if (!o || o->what > QUERY) {
        SetLastError(ERROR_INVALID_HANDLE);
        return FALSE;
    }
    EnterCriticalSection(&lock);
    unsigned error = next_records(o, size, events, ret_n);
    LeaveCriticalSection(&lock);
    if (error) SetLastError(error);
    return !error;
}

static unsigned render_text(const char *text, DWORD size, void *buffer, DWORD *ret_used, bool cut) {
    int units = MultiByteToWideChar(CP_UTF8, 0, text, -1, NULL, 0);
    DWORD need = (DWORD)units * 2;
    *ret_used = need;
    if (cut && size >= 8) { /* half of it, ended as a string is */
        wchar_t *all = malloc(need);
        DWORD part = (DWORD)units / 2 < size / 2 ? (DWORD)units / 2 : size / 2;
        if (!all) abort();
        MultiByteToWideChar(CP_UTF8, 0, text, -1, all, units);
        memcpy(buffer, all, part * 2);
        ((wchar_t *)buffer)[part - 1] = 0;
        *ret_used = part * 2;
        free(all);
        return 0;
    }
    if (size < need) return ERROR_INSUFFICIENT_BUFFER;
    MultiByteToWideChar(CP_UTF8, 0, text, -1, buffer, units);
    return 0;
}

WINBOOL WINAPI EvtRender(EVT_HANDLE ctx, EVT_HANDLE fragment, DWORD flags, DWORD size, PVOID buffer, PDWORD ret_used,
                         PDWORD ret_properties) {
    struct object *o = fragment;
    char mark[600];
    unsigned error;
    (void)ctx;
    *ret_properties = 0;
    EnterCriticalSection(&lock);
    if (flags == EvtRenderBookmark && o->what == BOOKMARK) {
        snprintf(mark, sizeof mark,
                 "<BookmarkList>\r\n  <Bookmark Channel='%.300s' RecordId='%llu' IsCurrent='true'/>\r\n</BookmarkList>",
                 o->channel ? o->channel->name : "", (unsigned long long)o->next_id);
        error = render_text(mark, size, buffer, ret_used, false);
    } else if (flags == EvtRenderEventXml && o->what == EVENT) {
        struct fault *f = due("render", NULL);
        error = f && f->error ? f->error : render_text(o->xml, size, buffer, ret_used, f && f->cut);
    } else {
        error = ERROR_INVALID_PARAMETER;
    }
    LeaveCriticalSection(&lock);
    if (error) SetLastError(error);
    return !error;
}

WINBOOL WINAPI EvtUpdateBookmark(EVT_HANDLE bookmark, EVT_HANDLE event) {
    struct object *mark = bookmark, *e = event;
    mark->next_id = e->id;
    mark->channel = e->channel;
    return TRUE;
}

EVT_HANDLE WINAPI EvtOpenLog(EVT_HANDLE session, LPCWSTR path, DWORD flags) {
    if (session || flags != EvtOpenChannelPath) return refuse(ERROR_INVALID_PARAMETER);
    EnterCriticalSection(&lock);
    struct channel *c = channel_of(path);
    bool there = c && refresh(c);
    struct fault *f = there ? due("loginfo", c->name) : NULL;
    unsigned error = f ? f->error : there ? 0 : ERROR_EVT_CHANNEL_NOT_FOUND;
    LeaveCriticalSection(&lock);
    return error ? refuse(error) : make(LOG, c);
}

WINBOOL WINAPI EvtGetLogInfo(EVT_HANDLE log, EVT_LOG_PROPERTY_ID id, DWORD size, PEVT_VARIANT v, PDWORD ret_used) {
    struct object *o = log;
    *ret_used = sizeof *v;
    if (size < sizeof *v) {
        SetLastError(ERROR_INSUFFICIENT_BUFFER);
        return FALSE;
    }
    EnterCriticalSection(&lock);
    struct channel *c = o->channel;
    read_control();
    v->Type = EvtVarTypeUInt64;
    v->UInt64Val = id == EvtLogNumberOfLogRecords && c->n   ? c->records[c->n - 1].id - c->records[0].id + 1
                   : id == EvtLogOldestRecordNumber && c->n ? c->records[0].id
                   : id == EvtLogFileSize                   ? (c->bytes ? c->bytes : c->text_len)
                                                            : 0;
    LeaveCriticalSection(&lock);
    return TRUE;
}

EVT_HANDLE WINAPI EvtOpenChannelConfig(EVT_HANDLE session, LPCWSTR path, DWORD flags) {
    (void)flags;
    if (session) return refuse(ERROR_INVALID_PARAMETER);
    EnterCriticalSection(&lock);
    struct channel *c = channel_of(path);
    bool there = c && refresh(c);
    LeaveCriticalSection(&lock);
    return there ? make(CONFIG, c) : refuse(ERROR_EVT_CHANNEL_NOT_FOUND);
}

WINBOOL WINAPI EvtGetChannelConfigProperty(EVT_HANDLE config, EVT_CHANNEL_CONFIG_PROPERTY_ID id, DWORD flags,
                                           DWORD size, PEVT_VARIANT v, PDWORD ret_used) {
    struct object *o = config;
    (void)flags;
    *ret_used = sizeof *v;
    if (size < sizeof *v || id != EvtChannelLoggingConfigMaxSize) {
        SetLastError(size < sizeof *v ? ERROR_INSUFFICIENT_BUFFER : ERROR_INVALID_PARAMETER);
        return FALSE;
    }
    v->Type = EvtVarTypeUInt64;
    v->UInt64Val = o->channel->max_bytes ? o->channel->max_bytes : 64u << 20;
    return TRUE;
}

WINBOOL WINAPI EvtClose(EVT_HANDLE handle) {
    struct object *o = handle;
    if (!o) return FALSE;
    EnterCriticalSection(&lock);
    for (struct object **p = &subscriptions; *p; p = &(*p)->link) {
        if (*p == o) {
            *p = o->link;
            break;
        }
    }
    LeaveCriticalSection(&lock);
    free(o->xml);
    free(o);
    return TRUE;
}
