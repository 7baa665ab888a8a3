/* State files; see state_file.h. */
#include "state_file.h"

#include <stdlib.h>
#include <string.h>

static const char MAGIC[8] = {'D', 'N', 'P', 'S', 'T', 'A', 'T', 'E'};
enum { VERSION = 1, ORDER = 0x01020304, HASH_BYTES = 8 };
struct head { char magic[8]; uint32_t version, order, parts, facts; };
enum { PART_BYTES = sizeof(uint32_t) + sizeof(uint64_t) };   /* in front of a part's name */

static char *put(char *at, const void *bytes, size_t size)
{
    if (size) memcpy(at, bytes, size);
    return at + size;
}

enum prune_code prune_state_encode(const char *facts, const struct prune_state_part *parts, size_t count, char **bytes, size_t *size, struct prune_status *st)
{
    struct head head = {.version = VERSION, .order = ORDER, .parts = (uint32_t)count, .facts = (uint32_t)(strlen(facts) + 1)};
    size_t total = sizeof head + head.facts + HASH_BYTES;
    memcpy(head.magic, MAGIC, sizeof MAGIC);
    for (size_t i = 0; i < count; i++) total += PART_BYTES + strlen(parts[i].name) + 1 + parts[i].size;
    char *out = malloc(total), *at = out;
    if (!out) return prune_fail_memory(st, total, "state file");
    at = put(put(at, &head, sizeof head), facts, head.facts);
    for (size_t i = 0; i < count; i++) {
        uint32_t name = (uint32_t)(strlen(parts[i].name) + 1);
        uint64_t length = parts[i].size;
        at = put(put(at, &name, sizeof name), &length, sizeof length);
        at = put(put(at, parts[i].name, name), parts[i].bytes, parts[i].size);
    }
    uint64_t hash = prune_hash_bytes(out, total - HASH_BYTES);
    put(at, &hash, sizeof hash);
    *bytes = out;
    *size = total;
    return PRUNE_OK;
}

/* ---- reading ---- */

struct reader { const char *path, *at, *end; };

/* The next bytes, or NULL where the file ends before. */
static const char *take(struct reader *r, size_t size)
{
    if ((size_t)(r->end - r->at) < size) return NULL;
    r->at += size;
    return r->at - size;
}

/* A text of `size` bytes whose one NUL is its last. */
static const char *take_text(struct reader *r, size_t size)
{
    const char *text = take(r, size);
    return text && size && memchr(text, 0, size) == text + size - 1 ? text : NULL;
}

static bool take_part(struct reader *r, struct prune_state_part *part)
{
    uint32_t name;
    uint64_t length;
    const char *about = take(r, PART_BYTES);
    if (!about) return false;
    memcpy(&name, about, sizeof name);
    memcpy(&length, about + sizeof name, sizeof length);
    part->name = take_text(r, name);
    part->bytes = length <= (size_t)(r->end - r->at) ? take(r, (size_t)length) : NULL;
    part->size = (size_t)length;
    return part->name && part->bytes;
}

static enum prune_code check_head(const char *path, const char *bytes, size_t size, struct head *head, struct prune_status *st)
{
    uint64_t hash;
    if (size < sizeof *head + HASH_BYTES || memcmp(bytes, MAGIC, sizeof MAGIC) != 0) return prune_fail(st, "'%s' is not a state file of darknet prune", path);
    memcpy(head, bytes, sizeof *head);
    if (head->order != ORDER) return prune_fail(st, "'%s' was written on a machine of another byte order; it can only be read there", path);
    if (head->version != VERSION) return prune_fail(st, "'%s' is a state file of version %u, this program reads %d", path, head->version, VERSION);
    memcpy(&hash, bytes + size - HASH_BYTES, sizeof hash);
    if (hash != prune_hash_bytes(bytes, size - HASH_BYTES)) return prune_fail(st, "'%s' is damaged or cut: its bytes do not have the hash at its end; begin anew without it", path);
    return PRUNE_OK;
}

static enum prune_code read_parts(struct prune_state_file *f, struct reader *r, const struct head *head, struct prune_status *st)
{
    f->facts = take_text(r, head->facts);
    if (!f->facts) return prune_fail(st, "'%s' is damaged: it has no facts; begin anew without it", r->path);
    if (head->parts > (size_t)(r->end - r->at) / PART_BYTES) return prune_fail(st, "'%s' is damaged: %u parts do not fit into it; begin anew without it", r->path, head->parts);
    f->parts = calloc(head->parts + (size_t)1, sizeof *f->parts);
    if (!f->parts) return prune_fail_memory(st, head->parts * sizeof *f->parts, r->path);
    for (f->count = 0; f->count < head->parts; f->count++)
        if (!take_part(r, &f->parts[f->count])) return prune_fail(st, "'%s' is damaged: part %zu reaches beyond its end; begin anew without it", r->path, f->count);
    return r->at == r->end ? PRUNE_OK : prune_fail(st, "'%s' is damaged: %zu bytes behind its last part; begin anew without it", r->path, (size_t)(r->end - r->at));
}

enum prune_code prune_state_parse(struct prune_state_file *f, const char *path, const void *bytes, size_t size, struct prune_status *st)
{
    struct head head;
    *f = (struct prune_state_file){.path = path};
    enum prune_code rc = check_head(path, bytes, size, &head, st);
    if (rc) return rc;
    struct reader r = {path, (const char *)bytes + sizeof head, (const char *)bytes + size - HASH_BYTES};
    rc = read_parts(f, &r, &head, st);
    if (rc) prune_state_close(f);
    return rc;
}

enum prune_code prune_state_open(struct prune_state_file *f, const char *path, struct prune_status *st)
{
    struct prune_map map;
    *f = (struct prune_state_file){.path = path};
    enum prune_code rc = prune_map_open(&map, path, st);
    if (rc) return rc;
    rc = prune_state_parse(f, path, map.bytes, map.size, st);
    if (rc) prune_map_close(&map);
    else f->map = map;
    return rc;
}

void prune_state_close(struct prune_state_file *f)
{
    free(f->parts);
    prune_map_close(&f->map);
    memset(f, 0, sizeof *f);
}

bool prune_state_fact(const struct prune_state_file *f, const char *name, char *value, size_t room)
{
    size_t n = strlen(name);
    for (const char *line = f->facts; *line;) {
        size_t length = strcspn(line, "\n");
        if (length > n && strncmp(line, name, n) == 0 && line[n] == ' ') {
            if (length - n > room) return false;
            memcpy(value, line + n + 1, length - n - 1);
            value[length - n - 1] = 0;
            return true;
        }
        line += length + (line[length] == '\n');
    }
    return false;
}

const struct prune_state_part *prune_state_part(const struct prune_state_file *f, const char *name)
{
    for (size_t i = 0; i < f->count; i++)
        if (strcmp(f->parts[i].name, name) == 0) return &f->parts[i];
    return NULL;
}
