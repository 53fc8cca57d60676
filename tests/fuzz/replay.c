/* Gives every file of the folders that it is called with to a fuzz target: the kept corpus where there is no fuzzer. */
#include "file.h"
#include "mem.h"

#include <stdio.h>

#define INPUT_MAX (64u << 20)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const char *dir;
static unsigned n_files;

static enum status replay(void *ctx, const char *name) {
    struct error *err = ctx;
    struct buf b = {0};
    char *path = file_join(dir, name);
    enum status st = file_read(path, INPUT_MAX, &b, err);
    if (!st) {
        buf_reserve(&b, 1);
        LLVMFuzzerTestOneInput(b.p, b.len);
        n_files++;
    }
    buf_free(&b);
    mem_free(path);
    return st;
}

int main(int argc, char **argv) {
    struct error err = {0};
    for (int i = 1; i < argc; i++) {
        dir = argv[i];
        if (file_list_dir(dir, replay, &err, &err)) {
            fprintf(stderr, "replay: %s\n", err.msg);
            return 1;
        }
    }
    printf("replayed %u files\n", n_files);
    return n_files ? 0 : 1;
}
