/* Gate values as text; see gates_file.h. */
#include "gates_file.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../plugin/base/file_io.h"

static const char MAGIC[] = "# darknet-prune-gates 1";

char *gates_path(const char *weights)
{
    const char *name = strrchr(weights, '/'), *dot = strrchr(name ? name : weights, '.');
    size_t stem = dot ? (size_t)(dot - weights) : strlen(weights);
    return prune_format("%.*s.gates", (int)stem, weights);
}

/* Unit of a channel that some layer of the network puts out; -1: there is none. */
static int unit_at(const struct prune_units *units, const struct prune_net *net, int layer, int channel)
{
    if (layer < 0 || (size_t)layer >= net->layer_count || channel < 0 || channel >= net->layers[layer].out_c) return -1;
    return units->of_channel[layer][channel];
}

static enum prune_code read_line(const char *path, int number, const char *line, const struct prune_units *units, const struct prune_net *net, float *z, struct prune_status *st)
{
    int layer, channel, used = 0;
    float value;
    if (!*line || *line == '#') return PRUNE_OK;
    if (sscanf(line, "%d %d %f %n", &layer, &channel, &value, &used) != 3 || line[used])
        return prune_fail(st, "%s:%d: '%s' is not 'layer channel value'", path, number, line);
    int unit = unit_at(units, net, layer, channel);
    if (unit < 0) return prune_fail(st, "%s:%d: layer %d has no prunable channel %d; do these gates belong to another cfg?", path, number, layer, channel);
    if (!isfinite(value)) return prune_fail(st, "%s:%d: gate value '%s' is not a finite number", path, number, line);
    z[unit] = value;
    return PRUNE_OK;
}

enum prune_code gates_read(const char *path, const struct prune_units *units, const struct prune_net *net, float *z, struct prune_status *st)
{
    char *bytes = NULL;
    size_t size = 0;
    enum prune_code rc = prune_read_file(path, &bytes, &size, st);
    if (rc) return rc;
    float *values = malloc((units->count ? units->count : 1) * sizeof *values);
    if (!values) rc = prune_fail_memory(st, units->count * sizeof *values, "gate values");
    for (size_t u = 0; !rc && u < units->count; u++) values[u] = 1.0f;
    if (!rc && (strlen(bytes) != size || strncmp(bytes, MAGIC, sizeof MAGIC - 1) != 0))
        rc = prune_fail(st, "cannot read gates from '%s': the first line is not '%s'", path, MAGIC);
    char *rest = bytes;
    for (int number = 1; !rc && rest; number++) {
        char *line = strsep(&rest, "\n");
        line[strcspn(line, "\r")] = '\0';
        rc = read_line(path, number, line, units, net, values, st);
    }
    if (!rc) memcpy(z, values, units->count * sizeof *z);
    free(values);
    free(bytes);
    return rc;
}

enum prune_code gates_write(const char *path, const struct prune_units *units, const float *z, struct prune_status *st)
{
    struct prune_writer *w = NULL;
    enum prune_code rc = prune_writer_open(&w, path, st);
    if (rc) return rc;
    char line[96];
    int n = snprintf(line, sizeof line, "%s\n# layer channel z\n", MAGIC);
    rc = prune_writer_put(w, line, (size_t)n, st);
    for (size_t u = 0; !rc && u < units->count; u++) {
        struct prune_channel m = units->members[units->items[u].first_member];
        n = snprintf(line, sizeof line, "%d %d %.9g\n", m.layer, m.channel, (double)z[u]);
        rc = prune_writer_put(w, line, (size_t)n, st);
    }
    if (!rc) return prune_writer_commit(w, st);
    prune_writer_abort(w);
    return rc;
}
