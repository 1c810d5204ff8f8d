/* The kernels of one instruction set as a translation unit of their own.
 *
 * SPDX-License-Identifier: MIT
 *
 * CMake compiles this once for each instruction set, with BN_UNIT as the name
 * of its file, and src/bnfloss.c with BNFLOSS_UNITS. An edit outside of
 * kernels/ then compiles in a second. Without CMake, src/bnfloss.c alone is the
 * whole library. */
#define BNFLOSS_UNITS
#include "../../include/bnfloss.h"

#if defined(__GNUC__)           /* each unit needs a part of what is shared */
#pragma GCC diagnostic ignored "-Wunused-function"
#endif
#include "../precise.h"
#include "../core.h"
#include "../math.c"
#include "common.h"
#include "chunk.h"
#include BN_UNIT
#include "../precise_end.h"
