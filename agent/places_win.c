/* Where the agent's files are on Windows. */
#include "mem.h"
#include "service.h"

#include <windows.h>

#include <shlobj.h>
#include <stdio.h>

/* FOLDERID_ProgramData, alone: <initguid.h> would put hundreds into the program. */
static const GUID program_data = {0x62ab5d82, 0xfdc1, 0x4dc3, {0xa9, 0xdd, 0x07, 0x0d, 0x1d, 0x49, 0x5d, 0x97}};

/* ProgramData by its known folder: in a service the environment may say something else. */
static char *under_program_data(const char *tail) {
    wchar_t *dir = NULL;
    char narrow[MAX_PATH * 3] = "C:\\ProgramData";
    if (SHGetKnownFolderPath(&program_data, 0, NULL, &dir) == S_OK)
        WideCharToMultiByte(CP_UTF8, 0, dir, -1, narrow, sizeof narrow, NULL, NULL);
    CoTaskMemFree(dir);
    size_t len = strlen(narrow) + strlen(tail) + 1;
    char *path = mem_alloc(len);
    snprintf(path, len, "%s%s", narrow, tail);
    return path;
}

const char *service_default_state(void) {
    static char *path; /* asked for by the main thread, before there are others */
    if (!path) path = under_program_data("\\Haechi");
    return path;
}

const char *service_default_config(void) {
    static char *path;
    if (!path) path = under_program_data("\\Haechi\\agent.toml");
    return path;
}
