/* rules noisy: what makes the noise on one host, and a configuration that leaves the loudest of it out, to be simulated. */
#include "clock.h"
#include "commands.h"
#include "event.h"
#include "file.h"
#include "mem.h"
#include "propose.h"
#include "rules_volume.h"
#include "schema.h"
#include "text.h"

#include <stdio.h>
#include <stdlib.h>

#define MAX_PAIRS 40u    /* programs and ids that are looked at for a proposal */
#define MAX_EXCLUDES 10u /* that are proposed */
#define LEAST_PERCENT 3  /* of the host's events, for a proposal */
#define NEW_SCHEMA 450u  /* of a file for a host whose Sysmon's schema is not known */

struct rules_noisy {
    struct common common;
    const char *host, *since, *until, *propose;
    uint64_t limit;
};

static const struct arg_option noisy_options[] = {
    {"host", ARG_STRING, offsetof(struct rules_noisy, host), "HOST",
     "whose noise: a name, an id, or a unique beginning of a name"},
    {"since", ARG_STRING, offsetof(struct rules_noisy, since), "T",
     "of events from this time on: a time, or how long ago: 15m, 24h, 7d (24h)"},
    {"until", ARG_STRING, offsetof(struct rules_noisy, until), "T", "up to this time (now)"},
    {"limit", ARG_UINT, offsetof(struct rules_noisy, limit), "N", "at most N programs and N rules (10)"},
    {"propose", ARG_STRING, offsetof(struct rules_noisy, propose), "FILE",
     "write the host's ruleset with the loudest left out to this new file, for: haechi rules simulate FILE"},
    OPTION_JSON,
    OPTION_API,
};

/* ---- what is asked of the collector ---- */

static enum status get(struct client *c, struct buf *url, yyjson_doc **ret, struct error *err) {
    struct buf reply = {0};
    enum status st = client_get(c, url, &reply, err);
    if (!st) st = json_line(buf_slice(&reply), ret, err);
    buf_free(&reply);
    return st;
}

static void events_url(const struct rules_noisy *o, uint32_t id, const char *image, struct buf *url) {
    struct buf where = {0};
    url_begin(url, "/api/v1/hosts");
    url_part(url, o->host);
    url_part(url, "events");
    url_param(url, "since", o->since ? o->since : "24h");
    url_param(url, "until", o->until);
    url_param_uint(url, "id", id);
    buf_printf(&where, "%s = %s", propose_subject(id), image);
    url_param(url, "where", buf_cstr(&where));
    buf_free(&where);
}

static enum status count_events(struct client *c, const struct rules_noisy *o, uint32_t id, const char *image,
                                uint64_t *ret, struct error *err) {
    struct buf url = {0};
    yyjson_doc *doc = NULL;
    events_url(o, id, image, &url);
    url_param_flag(&url, "count", true);
    enum status st = get(c, &url, &doc, err);
    if (!st) *ret = json_uint(yyjson_doc_get_root(doc), "count");
    yyjson_doc_free(doc);
    buf_free(&url);
    return st;
}

struct sample {
    struct propose *p;
    struct error *err;
};

static enum status on_event(void *ctx, struct slice line) {
    struct sample *s = ctx;
    yyjson_doc *doc;
    enum status st = json_line(line, &doc, s->err);
    if (st) return st;
    propose_event(s->p, yyjson_obj_get(yyjson_doc_get_root(doc), "data"));
    yyjson_doc_free(doc);
    return ST_OK;
}

static enum status take_sample(struct client *c, const struct rules_noisy *o, uint32_t id, const char *image,
                               struct propose *p, struct error *err) {
    struct buf url = {0};
    struct sample s = {p, err};
    events_url(o, id, image, &url);
    url_param_uint(&url, "limit", PROPOSE_SAMPLE);
    url_param_flag(&url, "reverse", true);
    enum status st = client_lines(c, &url, on_event, &s, err);
    buf_free(&url);
    return st;
}

/* ---- proposals ---- */

struct pair { /* a program's events of one id, as the process table has them: about how many */
    const char *image;
    uint32_t id;
    uint64_t n;
};

static int by_number(const void *pa, const void *pb) {
    const struct pair *a = pa, *b = pb;
    return (a->n < b->n) - (a->n > b->n);
}

static size_t loudest(yyjson_val *noise, struct pair ret[MAX_PAIRS]) {
    struct pair *all = NULL;
    size_t n = 0, cap = 0, i, k, n_images, n_ids;
    yyjson_val *m, *key, *v;
    yyjson_arr_foreach(yyjson_obj_get(noise, "images"), i, n_images, m) {
        yyjson_obj_foreach(yyjson_obj_get(m, "ids"), k, n_ids, key, v) {
            uint32_t id = (uint32_t)strtoul(yyjson_get_str(key), NULL, 10);
            if (!propose_subject(id)) continue;
            mem_grow((void **)&all, n, &cap, sizeof *all);
            all[n++] = (struct pair){yyjson_get_str(yyjson_obj_get(m, "image")), id, yyjson_get_uint(v)};
        }
    }
    if (n) qsort(all, n, sizeof *all, by_number);
    if (n > MAX_PAIRS) n = MAX_PAIRS;
    if (n) memcpy(ret, all, n * sizeof *all);
    mem_free(all);
    return n;
}

struct excludes {
    struct exclude list[MAX_EXCLUDES];
    struct proposal proposals[MAX_EXCLUDES];
    struct propose from[MAX_EXCLUDES]; /* the images */
    uint64_t events[MAX_EXCLUDES];
    char *comments[MAX_EXCLUDES];
    size_t n, n_from;
};

static void free_excludes(struct excludes *x) {
    for (size_t i = 0; i < x->n; i++) {
        proposal_free(&x->proposals[i]);
        mem_free(x->comments[i]);
    }
    for (size_t i = 0; i < x->n_from; i++) propose_deinit(&x->from[i]);
}

static void keep(struct excludes *x, struct proposal *p, uint64_t events, uint64_t all) {
    struct buf comment = {0};
    if (x->n == MAX_EXCLUDES) {
        proposal_free(p);
        return;
    }
    buf_printf(&comment, "haechi: %llu of the host's %llu events", (unsigned long long)events, (unsigned long long)all);
    x->comments[x->n] = mem_strdup(buf_cstr(&comment));
    x->proposals[x->n] = *p;
    x->list[x->n] = p->exclude;
    x->list[x->n].comment = slice_str(x->comments[x->n]);
    x->events[x->n++] = events;
    buf_free(&comment);
}

static enum status propose_pair(struct client *c, const struct rules_noisy *o, const struct pair *pair, uint64_t all,
                                struct excludes *x, struct error *err) {
    struct proposal found[PROPOSE_MAX_VALUES];
    uint64_t n_events;
    struct propose *p = &x->from[x->n_from];
    if (x->n_from == MAX_EXCLUDES || pair->n * 100 < all * LEAST_PERCENT) return ST_OK;
    if (!propose_begin(p, pair->id, pair->image)) return ST_OK;
    enum status st = count_events(c, o, pair->id, pair->image, &n_events, err);
    if (!st && n_events * 100 >= all * LEAST_PERCENT) st = take_sample(c, o, pair->id, pair->image, p, err);
    size_t n = st ? 0 : propose_end(p, found);
    for (size_t i = 0; i < n; i++) keep(x, &found[i], (uint64_t)(found[i].covered * (double)n_events + 0.5), all);
    if (n) {
        x->n_from++;
    } else {
        propose_deinit(p);
    }
    return st;
}

/* The configuration that the host shall have; one that logs all that it does when it has none. */
static enum status base_config(struct client *c, const struct rules_noisy *o, yyjson_val *noise, struct buf *ret,
                               char name[128], struct error *err) {
    struct buf url = {0};
    yyjson_doc *doc = NULL;
    url_begin(&url, "/api/v1/hosts");
    url_part(&url, o->host);
    enum status st = get(c, &url, &doc, err);
    yyjson_val *host = yyjson_doc_get_root(doc), *want = yyjson_obj_get(yyjson_obj_get(host, "rules"), "want"), *row;
    struct slice ruleset = json_text(want, "ruleset");
    if (!st && ruleset.len) {
        char revision[24];
        snprintf(name, 128, "%.*s revision %llu", (int)(ruleset.len < 64 ? ruleset.len : 64), (const char *)ruleset.p,
                 (unsigned long long)json_uint(want, "revision"));
        snprintf(revision, sizeof revision, "%llu", (unsigned long long)json_uint(want, "revision"));
        char *which = mem_strndup(ruleset.p, ruleset.len);
        buf_clear(&url);
        url_begin(&url, "/api/v1/rulesets");
        url_part(&url, which);
        url_part(&url, "revisions");
        url_part(&url, revision);
        st = client_get(c, &url, ret, err);
        mem_free(which);
    } else if (!st) {
        uint32_t ids[256], schema = NEW_SCHEMA, said;
        size_t n = 0, i, n_rows;
        if (schema_version_parse(json_text(host, "sysmon_schema"), &said) && said >= NEW_SCHEMA &&
            said <= SCHEMA_NEWEST)
            schema = said;
        yyjson_arr_foreach(yyjson_obj_get(noise, "rows"), i, n_rows, row) {
            if (n < 256) ids[n++] = (uint32_t)json_uint(row, "id");
        }
        *name = 0;
        exclude_nothing(schema, ids, n, ret);
    }
    yyjson_doc_free(doc);
    buf_free(&url);
    return st;
}

static void show_exclude(const struct excludes *x, size_t i, uint64_t all) {
    const struct exclude *e = &x->list[i];
    struct buf line = {0}, warnings = {0};
    buf_printf(&line, "%s %5.1f%% %s", e->why_not ? "left out" : "exclude ",
               all ? (double)x->events[i] * 100 / (double)all : 0, e->tag);
    for (size_t k = 0; k < e->n_entries; k++) {
        buf_printf(&line, "%s%s %s ", k ? " and " : ": ", e->entries[k].field,
                   rule_condition_name(e->entries[k].condition));
        text_printable(&line, e->entries[k].value, 200);
    }
    printf("%s\n", buf_cstr(&line));
    if (e->why_not) {
        printf("         %s\n", e->why_not);
    } else {
        propose_warnings(e, &warnings);
        for (const char *w = buf_cstr(&warnings); *w;) {
            size_t len = strcspn(w, "\n");
            printf("         beware: %.*s\n", (int)len, w);
            w += len + (w[len] == '\n');
        }
    }
    buf_free(&line);
    buf_free(&warnings);
}

static enum status write_proposal(struct client *c, const struct rules_noisy *o, yyjson_val *noise, struct excludes *x,
                                  struct error *err) {
    struct buf base = {0}, out = {0};
    char name[128] = "";
    uint64_t all = json_uint(noise, "events");
    size_t n_in = 0;
    if (!x->n) {
        return error_set(
            err, ST_NOTFOUND,
            "nothing to propose: no program's events of one id are %u %% of the host's and alike enough for an exclude that hides nothing else",
            LEAST_PERCENT);
    }
    enum status st = base_config(c, o, noise, &base, name, err);
    if (!st) st = exclude_add(buf_slice(&base), x->list, x->n, &out, err);
    for (size_t i = 0; i < x->n && !st; i++) {
        show_exclude(x, i, all);
        n_in += !x->list[i].why_not;
    }
    if (!st && !n_in) st = error_set(err, ST_INVALID, "none of these can be added to %s", name);
    if (!st && file_exists(o->propose)) st = error_set(err, ST_EXISTS, "%s is there already", o->propose);
    if (!st) st = file_replace(o->propose, buf_slice(&out), 0644, err);
    if (!st) {
        printf("\n%s: %s with %zu exclude%s\n", o->propose,
               *name ? name
                     : "no ruleset is assigned to this host: one that logs all its events, for the simulation only,",
               n_in, n_in == 1 ? "" : "s");
        printf("see what it would leave out:  haechi rules simulate %s\n", o->propose);
    }
    buf_free(&base);
    buf_free(&out);
    return st;
}

static enum status propose(struct client *c, const struct rules_noisy *o, yyjson_val *noise, struct error *err) {
    struct pair pairs[MAX_PAIRS];
    struct excludes *x = mem_zalloc(sizeof *x);
    struct progress bar;
    size_t n = loudest(noise, pairs);
    uint64_t all = json_uint(noise, "events");
    enum status st = ST_OK;
    progress_begin(&bar, "looking at events");
    for (size_t i = 0; i < n && !st; i++) {
        st = propose_pair(c, o, &pairs[i], all, x, err);
        progress_show(&bar, i + 1, n);
    }
    progress_end(&bar);
    if (!st) st = write_proposal(c, o, noise, x, err);
    free_excludes(x);
    mem_free(x);
    return st;
}

/* ---- for people ---- */

static void put_ids(struct table *t, yyjson_val *ids) {
    struct buf text = {0};
    yyjson_val *key, *v;
    size_t i, n;
    yyjson_obj_foreach(ids, i, n, key, v) {
        buf_printf(&text, "%s%s: %llu", text.len ? ", " : "", yyjson_get_str(key),
                   (unsigned long long)yyjson_get_uint(v));
    }
    table_cell(t, buf_slice(&text));
    buf_free(&text);
}

static void print_images(yyjson_val *noise) {
    static const char *const heads[] = {">EVENTS", ">PROCESSES", "PROGRAM", "BY EVENT ID", NULL};
    struct table t;
    yyjson_val *m;
    size_t i, n;
    table_init(&t, heads);
    yyjson_arr_foreach(yyjson_obj_get(noise, "images"), i, n, m) {
        struct slice image = json_text(m, "image");
        table_cellf(&t, "%llu", (unsigned long long)json_uint(m, "events"));
        table_cellf(&t, "%llu", (unsigned long long)json_uint(m, "processes"));
        table_cell(&t, image.len ? image : SLICE_LIT("(not known)"));
        put_ids(&t, yyjson_obj_get(m, "ids"));
    }
    if (t.n_cells) {
        char day[24];
        struct slice since = json_time(noise, "images_since", day);
        printf("\nprograms, by the events that name them, of whole days since %.10s:\n", (const char *)since.p);
        table_print(&t);
    }
    table_free(&t);
}

static enum status check_noisy(const struct rules_noisy *o, struct error *err) {
    if (!o->host) return error_set(err, ST_INVALID, "--host HOST is needed: whose noise? See: haechi hosts");
    if (o->propose && o->common.json) return error_set(err, ST_INVALID, "--propose and --json do not go together");
    enum status st = check_time("since", o->since, err);
    return st ? st : check_time("until", o->until, err);
}

static enum status run_rules_noisy(struct client *c, const void *options, const struct arg_list *words,
                                   struct error *err) {
    const struct rules_noisy *o = options;
    struct buf url = {0}, reply = {0};
    yyjson_doc *doc = NULL;
    (void)words;
    enum status st = check_noisy(o, err);
    if (!st) {
        url_begin(&url, "/api/v1/hosts");
        url_part(&url, o->host);
        url_part(&url, "noise");
        url_param(&url, "since", o->since);
        url_param(&url, "until", o->until);
        url_param_uint(&url, "limit", o->propose ? 200 : o->limit ? o->limit : 10);
        st = client_get(c, &url, &reply, err);
    }
    if (!st && o->common.json) {
        st = print_reply(buf_slice(&reply));
    } else if (!st) {
        st = json_line(buf_slice(&reply), &doc, err);
        if (!st && o->propose) {
            st = propose(c, o, yyjson_doc_get_root(doc), err);
        } else if (!st) {
            print_volume(yyjson_doc_get_root(doc));
            print_images(yyjson_doc_get_root(doc));
        }
    }
    yyjson_doc_free(doc);
    buf_free(&url);
    buf_free(&reply);
    return st;
}

const struct command rules_noisy_command = {
    {"rules noisy", "--host HOST [--since T] [--propose FILE]",
     "Shows what makes the noise on a host: its rules and event ids by bytes, its programs by the events that name them. With "
     "--propose it looks at the events of the loudest programs and writes the host's ruleset, with excludes for them added, "
     "to FILE: each names a program by its full path and one more thing that these events have in common, and what an "
     "attacker could hide behind it is said. Nothing is changed; FILE is made for: haechi rules simulate FILE.",
     OPTIONS(noisy_options), 0, 0},
    "what makes the noise on a host, and an exclude for it",
    sizeof(struct rules_noisy),
    run_rules_noisy,
};
