/* The library from the single header: copied beside it, and compiled. */
#define BNFLOSS_IMPLEMENTATION
#include "bnfloss.h"
