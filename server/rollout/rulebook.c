/* The rulebook: revisions, kept byte for byte under their digest. */
#include "canary.h"
#include "log.h"
#include "mem.h"
#include "rulebook_internal.h"
#include "text.h"
#include "zblob.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>

/* ---- snapshots ---- */

void revision_free(struct revision *r) {
    mem_free(r->author);
    mem_free(r->comment);
    mem_free(r->canary);
    *r = (struct revision){0};
}

void revisions_free(struct revision *r, size_t n) {
    for (size_t i = 0; i < n; i++) revision_free(&r[i]);
    mem_free(r);
}

void revision_copy(const struct revision *from, struct revision *to) {
    *to = *from;
    to->author = mem_strdup(from->author);
    to->comment = mem_strdup(from->comment);
    if (from->canary) to->canary = mem_strdup(from->canary);
}

/* ---- look-ups: under the lock ---- */

/* The first position that does not come before (name, revision). */
static size_t position(const struct rulebook *b, const char *name, uint32_t revision) {
    size_t lo = 0, hi = b->n_revisions;
    while (lo < hi) {
        size_t mid = (lo + hi) / 2;
        int c = strcmp(b->revisions[mid].name, name);
        if (c < 0 || (c == 0 && b->revisions[mid].revision < revision)) {
            lo = mid + 1;
        } else {
            hi = mid;
        }
    }
    return lo;
}

static const char *name_at(const struct rulebook *b, size_t i) {
    assert(b->revisions && i < b->n_revisions);
    return b->revisions[i].name;
}

/* [*ret_first, result) are the revisions of that name. */
static size_t range_of(const struct rulebook *b, const char *name, size_t *ret_first) {
    *ret_first = position(b, name, 0);
    size_t end = position(b, name, UINT32_MAX);
    return end < b->n_revisions && strcmp(name_at(b, end), name) == 0 ? end + 1 : end;
}

static size_t count_names(const struct rulebook *b) {
    size_t n = 0;
    for (size_t i = 0; i < b->n_revisions; i++) n += !i || strcmp(name_at(b, i - 1), name_at(b, i)) != 0;
    return n;
}

static void say_names(const struct rulebook *b, const char *name, struct error *err) {
    struct buf names = {0};
    for (size_t i = 0; i < b->n_revisions && names.len < 200; i++) {
        const char *one = name_at(b, i);
        if (i && strcmp(name_at(b, i - 1), one) == 0) continue;
        buf_printf(&names, "%s%s", names.len ? ", " : "", one);
    }
    if (names.len) {
        error_set(err, ST_NOTFOUND, "no ruleset is called '%s'; there are: %s", log_peer(slice_str(name)),
                  buf_cstr(&names));
    } else {
        error_set(err, ST_NOTFOUND, "no ruleset is called '%s': there is none yet; see haechi rules push --help",
                  log_peer(slice_str(name)));
    }
    buf_free(&names);
}

const struct revision *revisions_get(const struct rulebook *b, const char *name, uint32_t revision, struct error *err) {
    size_t first, end = range_of(b, name, &first);
    if (first == end) {
        say_names(b, name, err);
        return NULL;
    }
    if (!revision) return &b->revisions[end - 1];
    size_t at = position(b, name, revision);
    if (at < end && b->revisions[at].revision == revision) return &b->revisions[at];
    error_set(err, ST_NOTFOUND, "%s has no revision %lu: %lu is the newest", name, (unsigned long)revision,
              (unsigned long)b->revisions[end - 1].revision);
    return NULL;
}

MUST_USE enum status rulebook_get(struct rulebook *b, const char *name, uint32_t revision, struct revision *ret,
                                  struct error *err) {
    enum status st = ST_NOTFOUND;
    uv_rwlock_rdlock(&b->lock);
    const struct revision *r = revisions_get(b, name, revision, err);
    if (r) {
        revision_copy(r, ret);
        st = ST_OK;
    }
    uv_rwlock_rdunlock(&b->lock);
    return st;
}

size_t rulebook_list(struct rulebook *b, const char *name, struct revision **ret) {
    uv_rwlock_rdlock(&b->lock);
    size_t first = 0, end = name ? range_of(b, name, &first) : b->n_revisions, n = end - first;
    *ret = mem_zalloc(mem_mul(n, sizeof **ret));
    for (size_t i = 0; i < n; i++) revision_copy(&b->revisions[first + i], &(*ret)[i]);
    uv_rwlock_rdunlock(&b->lock);
    return n;
}

/* ---- bytes ---- */

MUST_USE enum status revision_read(struct rulebook *b, const struct revision *r, struct buf *ret_zstd,
                                   struct buf *ret_xml, struct error *err) {
    struct buf xml = {0};
    uint8_t digest[RULES_DIGEST_LEN];
    buf_clear(ret_zstd);
    enum status st = fleet_get(b->db, FLEET_RULES_XML, slice_of(r->digest, sizeof r->digest), ret_zstd, err);
    if (!st) st = zblob_unpack(buf_slice(ret_zstd), RULES_XML_MAX, &xml, err);
    if (!st) {
        tls_sha256(buf_slice(&xml), digest);
        if (xml.len != r->len || memcmp(digest, r->digest, sizeof digest) != 0)
            st = error_set(err, ST_CORRUPT, "they are not those that were put in");
    }
    if (!st && ret_xml) buf_slice_append(ret_xml, buf_slice(&xml));
    buf_free(&xml);
    if (!st) return ST_OK;
    if (st != ST_NOMEM && st != ST_IO) st = ST_CORRUPT;
    return error_prefix(err, st, "the bytes of %s@%lu are damaged in the store, push them again", r->name,
                        (unsigned long)r->revision);
}

MUST_USE enum status rulebook_xml(struct rulebook *b, const char *name, uint32_t revision, struct buf *ret_xml,
                                  struct error *err) {
    struct revision r = {0};
    struct buf zstd = {0};
    enum status st = rulebook_get(b, name, revision, &r, err);
    if (!st) st = revision_read(b, &r, &zstd, ret_xml, err);
    buf_free(&zstd);
    revision_free(&r);
    return st;
}

/* ---- a new revision ---- */

static enum status check_new(const char *name, const char *comment, struct slice xml, const char *canary,
                             struct error *err) {
    if (!ruleset_name_is_fit(slice_str(name))) {
        return error_set(err, ST_INVALID, "'%s' is no name for a ruleset: letters, digits and . _ - only, at most %d",
                         log_peer(slice_str(name)), RULEBOOK_NAME_MAX);
    }
    if (strlen(comment) > RULEBOOK_COMMENT_MAX || !text_is_utf8(slice_str(comment))) {
        return error_set(err, ST_INVALID, "a comment is UTF-8 text of at most %d bytes", RULEBOOK_COMMENT_MAX);
    }
    if (canary && (!*canary || strlen(canary) > RULEBOOK_CANARY_MAX || !text_is_utf8(slice_str(canary)))) {
        return error_set(err, ST_INVALID, "a canary's RuleName is UTF-8 text of at most %d bytes", RULEBOOK_CANARY_MAX);
    }
    if (!xml.len) return error_set(err, ST_INVALID, "the configuration is empty");
    if (xml.len > RULES_XML_MAX) {
        return error_set(err, ST_TOOBIG, "the configuration has %zu bytes; at most %u are accepted", xml.len,
                         RULES_XML_MAX);
    }
    return ST_OK;
}

/* Under `change`, so nobody else writes: the number after the newest, past rows that could not be read. */
static enum status choose_number(struct rulebook *b, struct fleet_txn *t, struct revision *r, struct error *err) {
    uint8_t key[BOOK_KEY_MAX];
    struct slice old;
    const struct revision *newest = revisions_get(b, r->name, 0, NULL);
    if (!newest && count_names(b) >= RULEBOOK_MAX_NAMES) {
        return error_set(err, ST_TOOBIG, "there are %d rulesets already", RULEBOOK_MAX_NAMES);
    }
    r->revision = newest ? newest->revision + 1 : 1;
    while (r->revision && !fleet_txn_get(t, FLEET_RULESETS, book_key(r->name, r->revision, key), &old)) r->revision++;
    return r->revision ? ST_OK : error_set(err, ST_FULL, "%s has no number left for another revision", r->name);
}

/* A canary that names another revision would prove the wrong one. */
static enum status check_canary(const struct revision *r, struct error *err) {
    char own[RULESET_CANARY_MAX];
    ruleset_canary_name(r->name, r->revision, own);
    if (!r->canary || strncmp(r->canary, CANARY_NAME_PREFIX, strlen(CANARY_NAME_PREFIX)) != 0) return ST_OK;
    if (strcmp(r->canary, own) == 0) return ST_OK;
    return error_set(err, ST_EXISTS,
                     "its canary rule is named %s, and this becomes %s: take that rule out, or push again",
                     log_peer(slice_str(r->canary)), own);
}

static enum status commit_revision(struct rulebook *b, struct revision *r, struct slice zstd, struct error *err) {
    struct fleet_txn *t = NULL;
    struct buf row = {0}, detail = {0};
    char object[RULEBOOK_NAME_MAX + 16];
    uint8_t key[BOOK_KEY_MAX];
    enum status st = fleet_begin(b->db, &t, err);
    if (!st) st = choose_number(b, t, r, err);
    if (!st) st = check_canary(r, err);
    if (!st) {
        book_row_revision(r, &row);
        snprintf(object, sizeof object, "%s@%lu", r->name, (unsigned long)r->revision);
        buf_printf(&detail, "%llu bytes, SHA-256 ", (unsigned long long)r->len);
        for (size_t i = 0; i < sizeof r->digest; i++) buf_printf(&detail, "%02x", r->digest[i]);
        if (*r->comment) buf_printf(&detail, ": %s", r->comment);
        st = fleet_txn_put(t, FLEET_RULES_XML, slice_of(r->digest, sizeof r->digest), zstd, err);
    }
    if (!st) st = fleet_txn_put(t, FLEET_RULESETS, book_key(r->name, r->revision, key), buf_slice(&row), err);
    if (!st) st = fleet_audit_in(b->fleet, t, r->author, "rules add", object, buf_cstr(&detail), err);
    if (!st) st = fleet_commit(&t, err);
    fleet_abort(&t);
    buf_free(&row);
    buf_free(&detail);
    return st;
}

/* The same bytes came again: where the store's are damaged, these take their place. */
static enum status mend(struct rulebook *b, const struct revision *r, struct slice zstd, struct error *err) {
    struct buf kept = {0};
    struct fleet_txn *t = NULL;
    char object[RULEBOOK_NAME_MAX + 16];
    bool damaged = revision_read(b, r, &kept, NULL, NULL) == ST_CORRUPT;
    buf_free(&kept);
    if (!damaged) return ST_OK;
    snprintf(object, sizeof object, "%s@%lu", r->name, (unsigned long)r->revision);
    enum status st = fleet_begin(b->db, &t, err);
    if (!st) st = fleet_txn_put(t, FLEET_RULES_XML, slice_of(r->digest, sizeof r->digest), zstd, err);
    if (!st) st = fleet_audit_in(b->fleet, t, "collector", "rules mend", object, "its bytes were damaged", err);
    if (!st) st = fleet_commit(&t, err);
    fleet_abort(&t);
    return st;
}

static void insert(struct rulebook *b, struct revision *r) {
    mem_grow((void **)&b->revisions, b->n_revisions, &b->cap_revisions, sizeof *b->revisions);
    size_t at = position(b, r->name, r->revision);
    memmove(b->revisions + at + 1, b->revisions + at, (b->n_revisions - at) * sizeof *b->revisions);
    b->revisions[at] = *r;
    b->n_revisions++;
}

MUST_USE enum status rulebook_add(struct rulebook *b, const char *actor, const char *name, const char *comment,
                                  struct slice xml, uint32_t schema, const char *canary, struct revision *ret,
                                  struct error *err) {
    struct buf zstd = {0};
    enum status st = check_new(name, comment, xml, canary, err);
    if (st) return st;
    zblob_pack(xml, &zstd);
    if (zstd.len > RULES_ZSTD_MAX) {
        st = error_set(err, ST_TOOBIG, "compressed the configuration has %zu bytes; at most %u are accepted", zstd.len,
                       RULES_ZSTD_MAX);
        buf_free(&zstd);
        return st;
    }
    struct revision r = {.author = mem_strdup(actor),
                         .comment = mem_strdup(comment),
                         .canary = canary ? mem_strdup(canary) : NULL,
                         .time = fleet_now(b->fleet),
                         .len = xml.len,
                         .schema = schema};
    snprintf(r.name, sizeof r.name, "%s", name);
    tls_sha256(xml, r.digest);
    uv_mutex_lock(&b->change);
    const struct revision *newest = revisions_get(b, name, 0, NULL);
    if (newest && memcmp(newest->digest, r.digest, sizeof r.digest) == 0) {
        st = mend(b, newest, buf_slice(&zstd), err);
        if (!st) revision_copy(newest, ret);
        revision_free(&r);
    } else {
        st = commit_revision(b, &r, buf_slice(&zstd), err);
        if (!st) {
            revision_copy(&r, ret);
            uv_rwlock_wrlock(&b->lock);
            insert(b, &r);
            uv_rwlock_wrunlock(&b->lock);
        } else {
            revision_free(&r);
        }
    }
    uv_mutex_unlock(&b->change);
    buf_free(&zstd);
    return st;
}

/* ---- opening ---- */

static enum status on_revision(void *ctx, struct slice key, struct slice value) {
    struct rulebook *b = ctx;
    struct revision r;
    if (book_row_revision_parse(key, value, &r)) {
        insert(b, &r);
    } else {
        log_warn("rules", "revision row %s cannot be read; leaving it out", log_peer(key));
    }
    return ST_OK;
}

static enum status on_group(void *ctx, struct slice key, struct slice value) {
    struct book_group *g = book_row_group_parse(key, value);
    if (g) {
        groups_insert(ctx, g);
    } else {
        log_warn("rules", "group row %s cannot be read; that group has no rules", log_peer(key));
    }
    return ST_OK;
}

static enum status read_serial(struct rulebook *b, struct error *err) {
    struct fleet_txn *t = NULL;
    uint64_t next = 1;
    enum status st = fleet_begin(b->db, &t, err);
    if (!st) st = fleet_txn_next(t, "rules", &next, err);
    fleet_abort(&t); /* it was asked for only */
    atomic_init(&b->serial, next - 1);
    return st;
}

MUST_USE enum status rulebook_open(struct db *db, struct fleet *fleet, struct rulebook **ret, struct error *err) {
    struct rulebook *b = mem_zalloc(sizeof *b);
    b->db = db;
    b->fleet = fleet;
    if (uv_rwlock_init(&b->lock) || uv_mutex_init(&b->change)) abort();
    enum status st = read_serial(b, err);
    if (!st) st = fleet_each(db, FLEET_RULESETS, (struct slice){0}, false, on_revision, b, err);
    if (!st) st = fleet_each(db, FLEET_GROUPS, (struct slice){0}, false, on_group, b, err);
    for (size_t i = 0; i < b->n_groups && !st; i++) {
        struct book_group *g = b->groups[i];
        struct error why = {0};
        if (g->ruleset[0] && rulebook_sign_again(b, g->name, buf_slice(&g->manifest), &g->order, &why)) {
            log_error("rules", "group %s: %s; its hosts keep what they have", g->name, why.msg);
        }
    }
    if (st) {
        rulebook_close(&b);
        return st;
    }
    *ret = b;
    return ST_OK;
}

void rulebook_close(struct rulebook **pb) {
    struct rulebook *b = *pb;
    if (!b) return;
    revisions_free(b->revisions, b->n_revisions);
    for (size_t i = 0; i < b->n_groups; i++) book_group_free(b->groups[i]);
    mem_free(b->groups);
    uv_rwlock_destroy(&b->lock);
    uv_mutex_destroy(&b->change);
    mem_free(b);
    *pb = NULL;
}
