/* Quad precision for the tests: 113 bits, by libquadmath or long double.
 *
 * SPDX-License-Identifier: MIT
 *
 * QUAD is 1 where there is such a type. libquadmath's functions are declared
 * here, since clang does not find gcc's header. */
#ifndef QUAD_H
#define QUAD_H

#include <float.h>

#if LDBL_MANT_DIG == 113
#include <math.h>
#define QUAD 1
typedef long double quad;
#define expq expl
#define expm1q expm1l
#define logq logl
#define log1pq log1pl
#define tanhq tanhl
#define coshq coshl
#define frexpq frexpl
#define scalbnq scalbnl
#elif defined(__SIZEOF_FLOAT128__) && !defined(__TINYC__)
#define QUAD 1
typedef __float128 quad;
quad expq(quad), expm1q(quad), logq(quad), log1pq(quad), tanhq(quad);
quad coshq(quad), frexpq(quad, int *), scalbnq(quad, int);
#else
#define QUAD 0
#endif

#endif /* QUAD_H */
