/* Which fields narrow an exclude down is a table; which of their values do is counted. */
#include "propose.h"
#include "event.h"
#include "mem.h"

#include <stdlib.h>

#define MAX_VALUES 5000u /* of one field in a sample, which has fewer events */

static const struct narrowing {
    uint32_t id;
    const char *subject;
    const char *fields[4]; /* the best first */
} narrowings[] = {
    {1, "Image", {"ParentImage", NULL}},
    {2, "Image", {"TargetFilename", NULL}},
    {3, "Image", {"DestinationHostname", "DestinationIp", NULL}},
    {5, "Image", {NULL}},
    {7, "Image", {"ImageLoaded", NULL}},
    {8, "SourceImage", {"TargetImage", NULL}},
    {9, "Image", {"Device", NULL}},
    {10, "SourceImage", {"TargetImage", "GrantedAccess", NULL}},
    {11, "Image", {"TargetFilename", NULL}},
    {12, "Image", {"TargetObject", NULL}},
    {13, "Image", {"TargetObject", NULL}},
    {14, "Image", {"TargetObject", NULL}},
    {15, "Image", {"TargetFilename", NULL}},
    {17, "Image", {"PipeName", NULL}},
    {18, "Image", {"PipeName", NULL}},
    {22, "Image", {"QueryName", NULL}},
    {23, "Image", {"TargetFilename", NULL}},
    {26, "Image", {"TargetFilename", NULL}},
    {29, "Image", {"TargetFilename", NULL}},
};

static const struct narrowing *narrowing_of(uint32_t id) {
    for (size_t i = 0; i < sizeof narrowings / sizeof *narrowings; i++) {
        if (narrowings[i].id == id) return &narrowings[i];
    }
    return NULL;
}

const char *propose_subject(uint32_t id) {
    const struct narrowing *n = narrowing_of(id);
    return n ? n->subject : NULL;
}

static bool is_path(struct slice s) {
    return s.len > 3 && (s.p[0] == '/' || (s.p[1] == ':' && s.p[2] == '\\') || (s.p[0] == '\\' && s.p[1] == '\\'));
}

bool propose_begin(struct propose *p, uint32_t id, const char *image) {
    const struct sysmon_event *e = sysmon_event_find(id);
    *p = (struct propose){.id = id};
    if (!e || !e->tag || !narrowing_of(id) || !is_path(slice_str(image)) || !exclude_value_is_fit(slice_str(image)))
        return false;
    p->image = mem_strdup(image);
    return true;
}

/* ---- counting ---- */

static void count(struct propose_field *f, struct slice v) {
    for (size_t i = 0; i < f->n; i++) {
        if (!slice_eq_nocase(slice_str(f->values[i].text), v)) continue;
        f->values[i].n++;
        return;
    }
    if (f->n == MAX_VALUES) return;
    mem_grow((void **)&f->values, f->n, &f->cap, sizeof *f->values);
    f->values[f->n++] = (struct propose_value){mem_strndup(v.p, v.len), 1};
}

static bool ends(struct slice s, const char *what) {
    struct slice w = slice_str(what);
    return s.len >= w.len && slice_eq_nocase(slice_from(s, s.len - w.len), w);
}

/* Folders that all programs share: whoever wants to hide would write there. */
static bool is_shared(struct slice folder) {
    static const char *const shared[] = {
        "\\Temp\\",   "\\Downloads\\", "\\Desktop\\",  "\\Documents\\", "\\Startup\\",        "\\Roaming\\",
        "\\Local\\",  "\\LocalLow\\",  "\\System32\\", "\\SysWOW64\\",  "\\drivers\\",        "\\Tasks\\",
        "\\Public\\", "\\Run\\",       "\\RunOnce\\",  "\\Services\\",  "\\CurrentVersion\\", "/tmp/",
        "/etc/",      "/bin/",         "/.ssh/"};
    for (size_t i = 0; i < sizeof shared / sizeof *shared; i++) {
        if (ends(folder, shared[i])) return true;
    }
    return false;
}

/* The folder with its last separator, when it lies deep enough to say something and is not everybody's; empty: not. */
static struct slice folder_of(struct slice v) {
    size_t end = 0, depth = 0;
    for (size_t i = 0; i < v.len; i++) {
        if (v.p[i] != '\\' && v.p[i] != '/') continue;
        depth++;
        end = i + 1;
    }
    struct slice folder = slice_head(v, end);
    return depth >= 3 && !is_shared(folder) ? folder : SLICE_LIT("");
}

void propose_event(struct propose *p, yyjson_val *data) {
    const struct narrowing *n = narrowing_of(p->id);
    if (p->n_events == PROPOSE_SAMPLE) return;
    p->n_events++;
    for (size_t i = 0; n->fields[i]; i++) {
        yyjson_val *v = yyjson_obj_get(data, n->fields[i]);
        struct slice s = yyjson_is_str(v) ? slice_of(yyjson_get_str(v), yyjson_get_len(v)) : SLICE_LIT("");
        if (!exclude_value_is_fit(s) || slice_eq_str(s, "-") || memchr(s.p, 0, s.len)) continue;
        count(&p->exact[i], s);
        struct slice folder = folder_of(s);
        if (folder.len) count(&p->folders[i], folder);
    }
}

/* ---- choosing ---- */

static int by_count(const void *pa, const void *pb) {
    const struct propose_value *a = pa, *b = pb;
    return a->n != b->n ? (a->n < b->n) - (a->n > b->n) : strcmp(a->text, b->text);
}

/* The most frequent values that are worth a rule each: how many, and what part of the sample they are of together. */
static size_t best(struct propose_field *f, size_t n_events, size_t *ret_covered) {
    size_t n = 0;
    *ret_covered = 0;
    if (f->n) qsort(f->values, f->n, sizeof *f->values, by_count);
    for (; n < f->n && n < PROPOSE_MAX_VALUES; n++) {
        if (n && f->values[n].n * 20 < n_events) break;
        *ret_covered += f->values[n].n;
    }
    return n;
}

static void make(const struct propose *p, const char *field, enum rule_condition c, const struct propose_value *v,
                 struct proposal *ret) {
    *ret = (struct proposal){.covered = p->n_events ? (double)(v ? v->n : p->n_events) / (double)p->n_events : 0};
    ret->exclude.tag = sysmon_event_find(p->id)->tag;
    ret->exclude.entries[0].field = narrowing_of(p->id)->subject;
    ret->exclude.entries[0].condition = COND_IS;
    ret->exclude.entries[0].value = slice_str(p->image);
    ret->exclude.n_entries = 1;
    if (!v) return;
    ret->value = mem_strdup(v->text);
    ret->exclude.entries[1].field = field;
    ret->exclude.entries[1].condition = c;
    ret->exclude.entries[1].value = slice_str(ret->value);
    ret->exclude.n_entries = 2;
}

size_t propose_end(struct propose *p, struct proposal ret[PROPOSE_MAX_VALUES]) {
    const struct narrowing *n = narrowing_of(p->id);
    size_t covered;
    if (!p->n_events) return 0;
    if (!n->fields[0]) { /* that a process ended: its path says all */
        make(p, NULL, COND_IS, NULL, &ret[0]);
        return 1;
    }
    for (unsigned kind = 0; kind < 2; kind++) { /* whole values before folders */
        for (size_t i = 0; n->fields[i]; i++) {
            struct propose_field *f = kind ? &p->folders[i] : &p->exact[i];
            size_t k = best(f, p->n_events, &covered);
            if (covered * 100 < p->n_events * PROPOSE_COVER_PERCENT) continue;
            for (size_t v = 0; v < k; v++)
                make(p, n->fields[i], kind ? COND_BEGIN_WITH : COND_IS, &f->values[v], &ret[v]);
            return k;
        }
    }
    return 0;
}

void proposal_free(struct proposal *p) {
    mem_free(p->value);
    *p = (struct proposal){0};
}

static void free_field(struct propose_field *f) {
    for (size_t i = 0; i < f->n; i++) mem_free(f->values[i].text);
    mem_free(f->values);
}

void propose_deinit(struct propose *p) {
    for (size_t i = 0; i < 4; i++) {
        free_field(&p->exact[i]);
        free_field(&p->folders[i]);
    }
    mem_free(p->image);
    *p = (struct propose){0};
}

/* ---- who could hide ---- */

static bool has(struct slice s, const char *part) {
    struct slice p = slice_str(part);
    for (size_t i = 0; i + p.len <= s.len; i++) {
        if (slice_eq_nocase(slice_of(s.p + i, p.len), p)) return true;
    }
    return false;
}

static bool has_any(struct slice s, const char *const *parts) {
    for (; *parts; parts++) {
        if (has(s, *parts)) return true;
    }
    return false;
}

void propose_warnings(const struct exclude *x, struct buf *out) {
    static const char *const writable[] = {
        "\\Users\\", "\\AppData\\", "\\Temp\\",  "\\ProgramData\\", "\\Downloads\\",      "\\Public\\",
        "/home/",    "/tmp/",       "/var/tmp/", "/dev/shm/",       "\\Windows\\Tasks\\", NULL};
    static const char *const hosts[] = {"\\powershell",
                                        "\\pwsh",
                                        "\\cmd.exe",
                                        "\\rundll32",
                                        "\\regsvr32",
                                        "\\mshta",
                                        "\\wscript",
                                        "\\cscript",
                                        "\\svchost",
                                        "\\msbuild",
                                        "\\installutil",
                                        "\\wmiprvse",
                                        "\\wmic",
                                        "\\certutil",
                                        "\\bitsadmin",
                                        "\\msiexec",
                                        "\\explorer.exe",
                                        "\\dllhost",
                                        "\\taskhostw",
                                        "\\regasm",
                                        "\\schtasks",
                                        "\\python",
                                        "\\java",
                                        "\\node.exe",
                                        "/bash",
                                        "/sh",
                                        "/python",
                                        "/perl",
                                        "/java",
                                        "/node",
                                        NULL};
    static const char *const persistence[] = {"\\CurrentVersion\\Run",
                                              "\\Start Menu\\",
                                              "\\Winlogon",
                                              "\\Services\\",
                                              "\\System32\\Tasks",
                                              "\\Image File Execution",
                                              "\\InprocServer32",
                                              "/etc/cron",
                                              "/etc/systemd",
                                              "/.ssh/",
                                              NULL};
    struct slice image = x->entries[0].value, more = x->n_entries > 1 ? x->entries[1].value : SLICE_LIT("");
    if (has_any(image, writable))
        buf_str(out, "whoever can write to the program's folder can put a program of theirs there under this name\n");
    if (has_any(image, hosts))
        buf_str(
            out,
            "this program runs the code of others (scripts, libraries, services): what they do through it is hidden as well\n");
    if (strcmp(x->tag, "ProcessCreate") == 0)
        buf_str(out, "starts are hidden whatever the command line says, and a parent can be forged\n");
    if (has(more, "\\lsass.exe")) buf_str(out, "reading the memory of lsass.exe is how credentials are stolen\n");
    if (has_any(more, persistence))
        buf_str(out, "what is left out is a place where programs are made to start by themselves\n");
    if (x->n_entries > 1 && x->entries[1].condition == COND_BEGIN_WITH && has_any(more, writable))
        buf_str(out, "everything below a folder that others can write to is left out\n");
    if (strcmp(x->tag, "CreateRemoteThread") == 0 || strcmp(x->tag, "ProcessAccess") == 0)
        buf_str(out, "code that is injected into the program reaches the other one unseen\n");
}
