/* Runs a fuzzer's entry point over files and folders, without a fuzzer: the kept corpus is a test like any other.
 * usage: <program> FILE-OR-FOLDER...     prints the number of inputs; a crash names its input on the line before */
#include <dirent.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "../../plugin/base/file_io.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static int replay(const char *path)
{
    char *bytes = NULL;
    size_t size = 0;
    if (prune_read_file(path, &bytes, &size, NULL)) return 0;
    printf("\r%s", path);
    fflush(stdout);
    LLVMFuzzerTestOneInput((const uint8_t *)bytes, size);
    printf("\r%*s\r", (int)strlen(path), "");
    free(bytes);
    return 1;
}

static int replay_all(const char *path)
{
    int count = 0;
    DIR *d = opendir(path);
    if (!d) return replay(path);
    for (struct dirent *e; (e = readdir(d));) {
        if (*e->d_name == '.') continue;
        char *inside = prune_path_join(path, e->d_name);
        if (inside) count += replay(inside);
        free(inside);
    }
    closedir(d);
    return count;
}

int main(int argc, char **argv)
{
    int count = 0;
    for (int i = 1; i < argc; i++) count += replay_all(argv[i]);
    printf("%d inputs\n%d passed, %d failed\n", count, count > 0, count == 0);
    return count == 0;
}
