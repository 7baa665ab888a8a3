/* What follows the linear map of a layer, for tangents: frozen normalisation, gates, activation. With s the sums, u = a s + b what a gate z multiplies (b = 0
 * for one in front of batch-norm), o = f(y) and out = z' o, a dot for the tangent along v:
 *   forward   y. = v u + z a s.    o. = f' y.    out. = v' o + z' o.
 *   backward, d = -dE/d out:   (H v)' -= sum(d. o + d o.)       d_o = z' d, d_o. = v' d + z' d.
 *                              d_y = f' d_o, d_y. = f' d_o. + k o. d_o with f'' = k(o) f'
 *                              (H v) -= sum(d_y. u + d_y a s.)  d_s. = a (v d_y + z d_y.)
 * Letters: B images, C channels, S values per channel and image; arrays are (B, C, S). */
#ifndef DARKNET_TANGENT_PLANES_H
#define DARKNET_TANGENT_PLANES_H

#include "gate_layer.h"

struct tangent_planes {
    const layer *l;              /* the network's own layer, as its forward pass left it */
    ACTIVATION activation;       /* LINEAR for kinds without one, whatever l says */
    struct gate_view gate;
    const float *z, *v;          /* (units) gates and direction */
    float *sums;                 /* s., of layers with gates in front of the activation; else where output is */
    float *inner;                /* o., of layers with gates on the output; else where output is */
    float *output, *delta;       /* out. and d.; backward leaves d_s. in delta */
    double *rows;                /* (B, C, 2) what each plane adds to (H v) in front of the activation and behind */
};

/* Nothing to do: linear, and without batch-norm and gates. */
bool tangent_planes_idle(const struct tangent_planes *p);
/* output, and inner, from sums. */
void tangent_planes_forward(const struct tangent_planes *p);
/* delta from delta and the layer's own delta, which stays; adds to products (units). */
void tangent_planes_backward(const struct tangent_planes *p, double *products);

#endif
