/* Where there is no fuzzer: gives every file of the folders that it is called with to a fuzz target, then changed copies of them for
 * some seconds. The changes come from a generator of our own: the same folders and the same number of rounds are the same inputs.
 *
 *     fuzz_NAME [-s SECONDS] [-n ROUNDS] FOLDER...        -n: so many rounds, to see again what a longer run fell over */
#include "clock.h"
#include "file.h"
#include "mem.h"

#include <stdio.h>
#include <stdlib.h>

#define INPUT_MAX (64u << 20)
#define CHANGED_MAX (256u * 1024) /* larger files are not changed: a round would take too long */
#define SAY_EVERY 1000u

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const char *dir;
static unsigned n_files;
static struct buf *kept; /* those that are small enough */
static size_t n_kept, cap_kept;
static uint64_t generator = UINT64_C(0x9e3779b97f4a7c15);

static uint64_t below(uint64_t n) {
    generator ^= generator << 13;
    generator ^= generator >> 7;
    generator ^= generator << 17;
    return n ? generator % n : 0;
}

static enum status replay(void *ctx, const char *name) {
    struct error *err = ctx;
    struct buf b = {0};
    char *path = file_join(dir, name);
    enum status st = file_read(path, INPUT_MAX, &b, err);
    mem_free(path);
    if (st) {
        buf_free(&b);
        return st;
    }
    buf_reserve(&b, 1);
    LLVMFuzzerTestOneInput(b.p, b.len);
    n_files++;
    if (b.len > CHANGED_MAX) {
        buf_free(&b);
        return ST_OK;
    }
    mem_grow((void **)&kept, n_kept, &cap_kept, sizeof *kept);
    kept[n_kept++] = b;
    return ST_OK;
}

/* One small change in place, or one that makes it shorter or longer. */
static void change(struct buf *b) {
    static const uint8_t often[] = {0, 1, 0x7f, 0x80, 0xff, '<', '&', '"', '\n', '0'};
    size_t at = (size_t)below(b->len), n = 1 + (size_t)below(16);
    if (n > b->len - at) n = b->len - at;
    switch (b->len ? below(6) : 4) {
    case 0: b->p[at] ^= (uint8_t)(1u << below(8)); break;
    case 1: b->p[at] = often[below(sizeof often)]; break;
    case 2: /* a piece is gone */
        memmove(b->p + at, b->p + at + n, b->len - at - n);
        b->len -= n;
        break;
    case 3: /* a piece is there twice */
        buf_reserve(b, n);
        memmove(b->p + at + n, b->p + at, b->len - at);
        b->len += n;
        break;
    case 4: { /* it ends like another file */
        const struct buf *o = &kept[below(n_kept)];
        size_t from = (size_t)below(o->len + 1);
        b->len = at;
        buf_append(b, o->p + from, o->len - from);
        break;
    }
    default: b->len = at; break;
    }
}

static uint64_t change_on(uint64_t seconds, uint64_t rounds) {
    uint64_t until = clock_mono_ms() + seconds * 1000, n = 0;
    for (; n < rounds || (!rounds && clock_mono_ms() < until); n++) {
        const struct buf *from = &kept[below(n_kept)];
        struct buf b = {0};
        buf_reserve(&b, from->len + 1);
        buf_append(&b, from->p, from->len);
        for (uint64_t k = 1 + below(4); k; k--) change(&b);
        uint8_t *exact = mem_alloc(b.len ? b.len : 1); /* so that a read behind the end is one behind a block */
        if (b.len) memcpy(exact, b.p, b.len);
        LLVMFuzzerTestOneInput(exact, b.len);
        mem_free(exact);
        buf_free(&b);
        if (n % SAY_EVERY == SAY_EVERY - 1) {
            printf("%llu rounds\n", (unsigned long long)n + 1);
            fflush(stdout);
        }
    }
    return n;
}

int main(int argc, char **argv) {
    struct error err = {0};
    uint64_t seconds = 0, rounds = 0;
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "-s") == 0 && i + 1 < argc) {
            seconds = strtoull(argv[++i], NULL, 10);
            continue;
        }
        if (strcmp(argv[i], "-n") == 0 && i + 1 < argc) {
            rounds = strtoull(argv[++i], NULL, 10);
            continue;
        }
        dir = argv[i];
        if (file_list_dir(dir, replay, &err, &err)) {
            fprintf(stderr, "replay: %s\n", err.msg);
            return 1;
        }
    }
    uint64_t changed = n_kept ? change_on(seconds, rounds) : 0;
    for (size_t i = 0; i < n_kept; i++) buf_free(&kept[i]);
    mem_free(kept);
    printf("replayed %u files, %llu changed ones\n", n_files, (unsigned long long)changed);
    return n_files ? 0 : 1;
}
