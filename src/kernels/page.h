/* The end of every ISA page: its words become kernels, one set per type of
 * logits, and a row of the dispatch table; then the words are forgotten. */
#define PASTE_(a, b) a##b
#define PASTE(a, b) PASTE_(a, b)
#define QUOTE_(a) #a
#define QUOTE(a) QUOTE_(a)
#define FN(op) PASTE(PASTE(bn_, op), PASTE(_, ISA))

#include "exp.h"

#define TYPE f32
#define ELEM float
#include "row.h"
#define TYPE bf16
#define ELEM uint16_t
#include "row.h"
#define TYPE f16
#define ELEM uint16_t
#include "row.h"

#define FORWARD(T)                                                            \
    { FN(PASTE(forward_, T)), FN(PASTE(forward_dot_, T)),                     \
      FN(PASTE(forward_general_, T)) }
#define BACKWARD(T, G)                                                        \
    { FN(PASTE(backward_, T##_##G)), FN(PASTE(backward_general_, T##_##G)) }

static const bn_kernels PASTE(bn_kernels_, ISA) = {
    QUOTE(ISA),
    { FORWARD(f32), FORWARD(bf16), FORWARD(f16) },
    { { BACKWARD(f32, f32), BACKWARD(f32, bf16), BACKWARD(f32, f16) },
      { BACKWARD(bf16, f32), BACKWARD(bf16, bf16), BACKWARD(bf16, f16) },
      { BACKWARD(f16, f32), BACKWARD(f16, bf16), BACKWARD(f16, f16) } }
};

#undef FORWARD
#undef BACKWARD
#undef PASTE_
#undef PASTE
#undef QUOTE_
#undef QUOTE
#undef FN

#undef ISA
#undef KERNEL
#undef VL
#undef v
#undef m
#undef v_table
#undef v_set1
#undef v_load_f32
#undef v_load_bf16
#undef v_load_f16
#undef v_store_f32
#undef v_store_bf16
#undef v_store_f16
#undef v_add
#undef v_sub
#undef v_mul
#undef v_div
#undef v_fma
#undef v_max
#undef v_above
#undef v_keep
#undef v_select
#undef v_any_equal
#undef v_widen_add
#undef v_table_load
#undef v_pow2
