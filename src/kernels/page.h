/* The end of every ISA page: its words become kernels and a row of the
 * dispatch table; then the words are forgotten. */
#define PASTE_(a, b) a##b
#define PASTE(a, b) PASTE_(a, b)
#define QUOTE_(a) #a
#define QUOTE(a) QUOTE_(a)
#define FN(op) PASTE(PASTE(bn_, op), PASTE(_, ISA))

#include "exp.h"
#include "row.h"

static const bn_kernels FN(kernels) = {
    QUOTE(ISA),
    { FN(forward), FN(forward_dot), FN(forward_general) },
    { FN(backward), FN(backward_general) },
    FN(kept)
};

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
#undef v_store2_bf16
#undef v_store_f16
#undef v_stream_f32
#undef v_fence
#undef v_leave
#undef v_add
#undef v_sub
#undef v_mul
#undef v_div
#undef v_fma
#undef v_max
#undef v_min
#undef v_above
#undef v_keep
#undef v_select
#undef v_any_equal
#undef v_all_above
#undef v_widen_add
#undef v_table_load
#undef v_pow2
#undef WL
#undef vw
#undef w_set1
#undef w_load
#undef w_store
#undef w_max_signed
#undef w_min_unsigned
#undef w_select_negative
