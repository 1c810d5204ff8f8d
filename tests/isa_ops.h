/* The operations of an instruction set as functions that a test can call.
 *
 * SPDX-License-Identifier: MIT
 *
 * src/kernels/instantiate.h includes this once for each instruction set. */

int BN_FN(ops_lanes) = BN_UL;
BN_KERNEL static bn_v BN_FN(ops_one)(int op, bn_v a, bn_v b, bn_v c,
                                     bn_v_table t)
{
    bn_v s = a;
    switch (op) {
    case ADD: return bn_v_add(a, b);
    case SUB: return bn_v_sub(a, b);
    case MUL: return bn_v_mul(a, b);
    case DIV: return bn_v_div(a, b);
    case FMA: return bn_v_fma(a, b, c);
    case MAX: return bn_v_max(a, b);
    case MIN: return bn_v_min(a, b);
    case MASKED: return bn_v_masked(bn_v_above(a, b), c);
    case SELECT: return bn_v_select(bn_v_above(a, b), a, c);
    case POW2: return bn_v_pow2(t, a);
    case EXP: return BN_FN(exp)(a, t);
    case TANH: return BN_FN(tanh)(a, t, &s);
    default: (void)BN_FN(tanh)(a, t, &s); return s;
    }
}

BN_KERNEL static void BN_FN(ops_floats)(int op, const float *a, const float *b,
                                        const float *c, const uint32_t *table,
                                        float *out, int n)
{
    const bn_v_table t = bn_v_table_load(table);
    for (int i = 0; i < n; i += BN_VL) {
        const int single = op == SET1 || op == EQUAL || op == ABOVE;
        for (int k = 0; k < BN_VL && single; k++) {
            float lane[BN_VL];
            bn_v_store_f32(lane, bn_v_set1(a[i + k]));
            out[i + k] = op == SET1  ? lane[(k + 1) % BN_VL]
                       : op == EQUAL ? bn_v_any_equal(bn_v_load_f32(b + i),
                                                      bn_v_set1(a[i + k]))
                                           != 0
                                     : bn_v_all_above(bn_v_load_f32(b + i),
                                                      bn_v_set1(a[i + k]))
                                           != 0;
        }
        if (!single)
            bn_v_store_f32(out + i, BN_FN(ops_one)(op, bn_v_load_f32(a + i),
                                                   bn_v_load_f32(b + i),
                                                   bn_v_load_f32(c + i), t));
    }
}

BN_KERNEL static void BN_FN(ops_halves)(int op, float *f, uint16_t *h, int n)
{
    for (int i = 0; i < n; i += BN_VL)
        switch (op) {
        case LOAD_BF16: bn_v_store_f32(f + i, bn_v_load_bf16(h + i)); break;
        case LOAD_F16: bn_v_store_f32(f + i, bn_v_load_f16(h + i)); break;
        case STORE_BF16: bn_v_store_bf16(h + i, bn_v_load_f32(f + i)); break;
        case STORE2_BF16:
            if (i / BN_VL % 2 == 0)
                bn_v_store2_bf16(h + i, bn_v_load_f32(f + i),
                                 bn_v_load_f32(f + i + BN_VL));
            break;
        default: bn_v_store_f16(h + i, bn_v_load_f32(f + i)); break;
        }
}

BN_KERNEL static void BN_FN(ops_ints)(int op, const uint16_t *p,
                                      const uint16_t *q, const uint16_t *r,
                                      uint16_t *out, int n)
{
    for (int i = 0; i < n; i += BN_UL) {
        const bn_vu a = bn_u_load(p + i), b = bn_u_load(q + i),
                    c = bn_u_load(r + i);
        switch (op) {
        case MAX_SIGNED: bn_u_store(out + i, bn_u_max_signed(a, b)); break;
        case MIN_UNSIGNED: bn_u_store(out + i, bn_u_min_unsigned(a, b)); break;
        case SET1_INT: bn_u_store(out + i, bn_u_set1(p[i])); break;
        default: bn_u_store(out + i, bn_u_select_negative(a, b, c)); break;
        }
        (void)a, (void)b, (void)c;
    }
}

BN_KERNEL static void BN_FN(ops_widen)(double *sum, const float *f, int n)
{
    for (int i = 0; i < n; i += BN_VL)
        bn_v_widen_add(sum + i, bn_v_load_f32(f + i));
}
