/* Images from files: decoded by the host library's own decoder (PNG, JPEG, BMP, TGA, GIF, PNM), never through a shell.
 * Out: 8-bit pixels (h, w, c) or planar floats (c, h, w) in 0..1. Refuses what cannot be opened, what is no image, and absurd sizes
 * before anything of that size is allocated. The host's load_image_cv is replaced: it ran system() on the file name. */
#include "loader_parts.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

enum { MAX_PIXELS = 1 << 26 };

/* Exported by the host library, declared nowhere in its header. */
unsigned char *stbi_load(char const *filename, int *x, int *y, int *comp, int req_comp);
int stbi_info(char const *filename, int *x, int *y, int *comp);
const char *stbi_failure_reason(void);
void stbi_image_free(void *retval_from_stbi_load);
image load_image_cv(char *filename, int channels);

enum prune_code pixels_read(const char *path, int channels, struct pixels *out, struct prune_status *st)
{
    struct stat info;
    int w = 0, h = 0, stored = 0;
    FILE *f = fopen(path, "rb");
    if (!f) return prune_fail(st, "cannot read image '%s': %s", path, strerror(errno));
    bool regular = !fstat(fileno(f), &info) && S_ISREG(info.st_mode);
    fclose(f);
    if (!regular) return prune_fail(st, "cannot read image '%s': it is not a file", path);
    if (info.st_size == 0) return prune_fail(st, "cannot read image '%s': the file is empty", path);
    if (!stbi_info(path, &w, &h, &stored)) return prune_fail(st, "cannot read image '%s': not an image this program decodes (PNG, JPEG, BMP, TGA, GIF, PNM)", path);
    if (w < 1 || h < 1 || w > MAX_PIXELS / h) return prune_fail(st, "cannot read image '%s': %d x %d pixels are more than the limit of %d", path, w, h, MAX_PIXELS);
    unsigned char *bytes = stbi_load(path, &w, &h, &stored, channels);
    if (!bytes) {
        const char *why = stbi_failure_reason();
        return prune_fail(st, "cannot read image '%s': damaged (%s)", path, why ? why : "unknown reason");
    }
    *out = (struct pixels){bytes, w, h, channels ? channels : stored};
    return PRUNE_OK;
}

void pixels_free(struct pixels *p)
{
    stbi_image_free(p->bytes);
    p->bytes = NULL;
}

enum prune_code pixels_to_image(const struct pixels *p, image *out, struct prune_status *st)
{
    size_t area = (size_t)p->w * (size_t)p->h, c = (size_t)p->c;
    float *data = malloc(area * c * sizeof *data);
    if (!data) return prune_fail_memory(st, area * c * sizeof *data, "an image");
    for (size_t k = 0; k < c; k++)
        for (size_t i = 0; i < area; i++) data[k * area + i] = (float)p->bytes[i * c + k] / 255.0f;
    *out = (image){p->w, p->h, p->c, data};
    return PRUNE_OK;
}

enum prune_code image_read(const char *path, int channels, image *out, struct prune_status *st)
{
    struct pixels p;
    enum prune_code rc = pixels_read(path, channels, &p, st);
    if (rc) return rc;
    rc = pixels_to_image(&p, out, st);
    pixels_free(&p);
    return rc;
}

/* The host calls this for every image it loads by itself (detector test, ...). Like the host's own it goes on with a black dummy. */
image load_image_cv(char *filename, int channels)
{
    struct prune_status st;
    image im;
    if (image_read(filename, channels, &im, &st) == PRUNE_OK) return im;
    fprintf(stderr, "%s\n", st.message);
    return make_image(10, 10, 3);
}
