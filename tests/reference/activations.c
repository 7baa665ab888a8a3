/* Activations of the reference interpreter, by their formulas; see kinds.h. */
#include "kinds.h"

#include <math.h>
#include <string.h>

static double linear(double x) { return x; }
static double relu(double x) { return x > 0 ? x : 0; }
static double leaky(double x) { return x > 0 ? x : .1 * x; }
static double relie(double x) { return x > 0 ? x : .01 * x; }
static double ramp(double x) { return (x > 0 ? x : 0) + .1 * x; }
static double logistic(double x) { return 1 / (1 + exp(-x)); }
static double loggy(double x) { return 2 / (1 + exp(-x)) - 1; }
static double elu(double x) { return x >= 0 ? x : exp(x) - 1; }
static double selu(double x) { return x >= 0 ? 1.0507 * x : 1.0507 * 1.6732 * (exp(x) - 1); }
static double plse(double x) { return x < -4 ? .01 * (x + 4) : x > 4 ? .01 * (x - 4) + 1 : .125 * x + .5; }
static double hardtan(double x) { return x < -1 ? -1 : x > 1 ? 1 : x; }
static double lhtan(double x) { return x < 0 ? .001 * x : x > 1 ? .001 * (x - 1) + 1 : x; }
static double relu6(double x) { return x < 0 ? 0 : x > 6 ? 6 : x; }
static double swish(double x) { return x * logistic(x); }
static double mish(double x) { return x * tanh(x > 30 ? x : log1p(exp(x))); }
static double hard_mish(double x) { return x > 0 ? x : x > -2 ? x * x / 2 + x : 0; }
static double gelu(double x) { return .5 * x * (1 + tanh(.797885 * x + .035677 * x * x * x)); }

static double stair(double x)
{
    double n = floor(x);
    return fmod(n, 2) == 0 ? floor(x / 2) : x - n + floor(x / 2);
}

static void share_of_channels(double *x, int c, size_t area, bool soft, bool from_max)
{
    for (size_t i = 0; i < area; i++) {
        double top = -INFINITY, sum = .0001;
        for (int k = 0; k < c; k++) top = fmax(top, x[(size_t)k * area + i]);
        for (int k = 0; k < c; k++) {
            double *v = &x[(size_t)k * area + i];
            *v = soft ? exp(*v - (from_max ? top : 0)) : relu(*v);
            sum += *v;
        }
        for (int k = 0; k < c; k++) x[(size_t)k * area + i] /= sum;
    }
}

static void norm_chan(double *x, int c, size_t area) { share_of_channels(x, c, area, false, false); }
static void norm_chan_softmax(double *x, int c, size_t area) { share_of_channels(x, c, area, true, false); }
static void norm_chan_softmax_maxval(double *x, int c, size_t area) { share_of_channels(x, c, area, true, true); }

static const struct ref_activation activations[] = {
    {"linear", NULL, linear, NULL, false}, {"relu", NULL, relu, NULL, false}, {"leaky", NULL, leaky, NULL, false}, {"relie", NULL, relie, NULL, false},
    {"ramp", NULL, ramp, NULL, false}, {"logistic", NULL, logistic, NULL, false}, {"loggy", NULL, loggy, NULL, false}, {"tanh", NULL, tanh, NULL, false},
    {"elu", NULL, elu, NULL, false}, {"selu", NULL, selu, NULL, false}, {"plse", NULL, plse, NULL, false}, {"stair", NULL, stair, NULL, false},
    {"hardtan", NULL, hardtan, NULL, false}, {"lhtan", NULL, lhtan, NULL, false},
    {"relu6", NULL, relu6, NULL, true}, {"swish", NULL, swish, NULL, true}, {"mish", NULL, mish, NULL, true}, {"hard_mish", NULL, hard_mish, NULL, true},
    {"gelu", NULL, gelu, NULL, true}, {"revleaky", NULL, leaky, NULL, true},
    {"normalize_channels", "norm_chan", NULL, norm_chan, true},
    {"normalize_channels_softmax", "norm_chan_softmax", NULL, norm_chan_softmax, true},
    {"normalize_channels_softmax_maxval", "norm_chan_softmax_maxval", NULL, norm_chan_softmax_maxval, true},
};

const struct ref_activation *ref_activation_of(struct ref_net *net, const struct ref_layer *l, const char *key, const char *fallback)
{
    const char *name = prune_cfg_string(l->section, key, fallback);
    for (size_t i = 0; i < sizeof activations / sizeof *activations; i++)
        if (!strcmp(activations[i].name, name) || (activations[i].alias && !strcmp(activations[i].alias, name))) return &activations[i];
    ref_fail(net, l, "unknown activation '%s'", name);
    return &activations[0];
}

void ref_activate(const struct ref_activation *f, double *x, int c, size_t area)
{
    if (f->across) f->across(x, c, area);
    else
        for (size_t i = 0; i < (size_t)c * area; i++) x[i] = f->f(x[i]);
}
