// The header by hand in Rust: its structs, and a call that works.
//
// Prints the sizes of the structs for comparison with C's; panics if a number
// is wrong. Linked with the static library by test_rust.sh.
use std::ffi::CStr;
use std::mem::size_of;
use std::os::raw::{c_char, c_void};
use std::ptr::null;

#[repr(C)]
struct Layout {
    struct_size: u32,
    logits_type: u32,
    grad_type: u32,
    label_type: u32,
    flags: u32,
    logit_scale: f32,
    softcap: f32,
    label_smoothing: f32,
    z_loss: f32,
    reserved: u32,
    rows: i64,
    vocab: i64,
    logits_stride: i64,
    grad_stride: i64,
    grad_cols: i64,
    vocab_begin: i64,
    vocab_total: i64,
}

#[repr(C)]
struct Spec {
    struct_size: u32,
    kind: u32,
    token_norm: u32,
    divisor: u32,
    flags: u32,
    also: u32,
    weight: f64,
    divisor_value: f64,
    loss_scale: f64,
    numbers: [f32; 13], // beta .. sft_weight
    sft_norm: u32,
    ld_alpha: f32,
    f_divergence: u32,
    f_alpha: f32,
    reserved: u32,
}

#[repr(C)]
struct Inputs {
    struct_size: u32,
    pairing: u32,
    sequences: i64,
    seq_start: *const i64,
    side: *const i8,
    ref_logp: *const f32,
    row_weight: *const f32,
    of_sequences: [*const f32; 6], // seq_weight .. distance
    row_mask: *const u8,
    log_square: *const f32,
    mismatched: *const f64,
    mismatches: i64,
    kl: f64,
    shift_mean: f64,
    shift_count: f64,
}

#[repr(C)]
struct Row {
    sums: [f64; 6], // leader, sum, dot, label, shift, finite
    leader_id: i64,
    label_id: i64,
    label_smoothing: f32,
    z_loss: f32,
    flags: u32,
    reserved: u32,
    square: f64,
}

#[repr(C)]
struct Outputs {
    struct_size: u32,
    reserved: u32,
    logp: *mut f32,
    rest: *mut f32,
    entropy: *mut f32,
    log_square: *mut f32,
    argmax: *mut i32,
    dlogp: *mut f32,
    row_loss: *mut f32,
    row_scale: *mut f32,
    seq_logp: *mut f64,
    seq_ratio: *mut f64,
    seq_loss: *mut f64,
    distance_grad: *mut f32,
    spec_loss: *mut f64,
}

#[repr(C)]
struct Outcome {
    struct_size: u32,
    reserved: u32,
    location: i64,
    loss: f64,
    divisor: f64,
    tokens: i64,
    sequences: i64,
    pairs: i64,
    empty_sequences: i64,
    skipped_pairs: i64,
    nan_rows: i64,
    nan_pairs: i64,
    clamped_logps: i64,
    zero_refs: i64,
    metrics: [f64; 19], // rewards_chosen .. shift_count
}

#[repr(C)]
struct Shifts {
    struct_size: u32,
    reserved: u32,
    location: i64,
    shifts: [f64; 10], // logp_chosen .. logit_gini_rejected
}

extern "C" {
    fn bnfloss_version() -> *const c_char;
    fn bnfloss_selftest(isa: *mut *const c_char) -> u32;
    fn bnfloss_status_string(status: u32) -> *const c_char;
    fn bnfloss_kind_from_name(name: *const c_char) -> u32;
    fn bnfloss_kind_name(kind: u32) -> *const c_char;
    fn bnfloss_spec_init(spec: *mut Spec, size: u32, kind: u32) -> i32;
    fn bnfloss_workspace(
        layout: *const Layout,
        spec: *const Spec,
        rows: i64,
        sequences: i64,
        bytes: *mut u64,
    ) -> u32;
    fn bnfloss_run(
        layout: *const Layout,
        spec: *const Spec,
        inputs: *const Inputs,
        logits: *const c_void,
        labels: *const c_void,
        grad: *mut c_void,
        outputs: *const Outputs,
        work: *mut c_void,
        work_bytes: u64,
        threads: i32,
        result: *mut Outcome,
    ) -> u32;
}

const BNF: u32 = 1;
const E_NULL: u32 = 1;
const N: usize = 5;
const V: usize = 4;
const S: usize = 2;

fn text(s: *const c_char) -> &'static str {
    unsafe { CStr::from_ptr(s) }.to_str().unwrap()
}

// The definition: the cross-entropy with the target t, which is frozen, where
// t_y = f = min(p/q, 1) and the others share 1 - f by their p.
fn row(z: &[f32], y: usize, r: f32) -> (f64, Vec<f64>, bool) {
    let e: Vec<f64> = z.iter().map(|&x| (x as f64).exp()).collect();
    let p: Vec<f64> = e.iter().map(|x| x / e.iter().sum::<f64>()).collect();
    let f = (p[y] / (r as f64).exp()).min(1.0);
    let t = |v| if v == y { f } else { (1.0 - f) * p[v] / (1.0 - p[y]) };
    let value = -(0..V).map(|v| t(v) * p[v].ln()).sum::<f64>();
    (value, (0..V).map(|v| p[v] - t(v)).collect(), f == 1.0)
}

fn main() {
    let logits: [f32; N * V] = [
        2., 1., 0., 0., 0., 2., 1., 0., 1., 0., 0., 1., // preferred
        1., 1., 0., 2., 0., 1., 2., 0., // dispreferred
    ];
    let labels: [i64; N] = [0, 1, 3, 3, 2];
    let ref_logp: [f32; N] = [-0.7, -0.4, -1.0, -0.5, -0.9];
    let seq_start: [i64; S + 1] = [0, 3, 5];
    let side: [i8; S] = [1, -1];
    let mut grad = [0f32; N * V];

    // What a binding does when it is loaded.
    let mut isa: *const c_char = std::ptr::null();
    assert_eq!(unsafe { bnfloss_selftest(&mut isa) }, 0);

    println!("layout {}", size_of::<Layout>());
    println!("spec {}", size_of::<Spec>());
    println!("inputs {}", size_of::<Inputs>());
    println!("row {}", size_of::<Row>());
    println!("outputs {}", size_of::<Outputs>());
    println!("result {}", size_of::<Outcome>());
    println!("shifts {}", size_of::<Shifts>());

    // All-zero bytes are a value of each of these.
    let mut layout: Layout = unsafe { std::mem::zeroed() };
    let mut spec: Spec = unsafe { std::mem::zeroed() };
    let mut result: Outcome = unsafe { std::mem::zeroed() };
    layout.struct_size = size_of::<Layout>() as u32;
    layout.label_type = 1;
    layout.rows = N as i64;
    layout.vocab = V as i64;
    let inputs = Inputs {
        struct_size: size_of::<Inputs>() as u32,
        pairing: 0,
        sequences: S as i64,
        seq_start: seq_start.as_ptr(),
        side: side.as_ptr(),
        ref_logp: ref_logp.as_ptr(),
        row_weight: null(),
        of_sequences: [null(); 6],
        row_mask: null(),
        log_square: null(),
        mismatched: null(),
        mismatches: 0,
        kl: 0.0,
        shift_mean: 0.0,
        shift_count: 0.0,
    };
    result.struct_size = size_of::<Outcome>() as u32;

    let mut bytes = 0u64;
    let spec_size = size_of::<Spec>() as u32;
    assert_eq!(unsafe { bnfloss_spec_init(&mut spec, spec_size, BNF) }, 0);
    assert_eq!(spec.struct_size as usize, size_of::<Spec>());
    assert_eq!((spec.divisor_value, spec.loss_scale), (1.0, 1.0));
    assert_eq!((spec.weight, spec.also, spec.reserved), (1.0, 0, 0));
    for kind in 1..=35 {
        let name = unsafe { bnfloss_kind_name(kind) };
        assert_eq!(unsafe { bnfloss_kind_from_name(name) }, kind);
    }
    assert_eq!(text(unsafe { bnfloss_kind_name(32) }), "kto");
    assert!(unsafe { bnfloss_kind_name(0) }.is_null());
    let mut kto: Spec = unsafe { std::mem::zeroed() };
    assert_eq!(unsafe { bnfloss_spec_init(&mut kto, spec_size, 32) }, 0);
    assert_eq!((kto.numbers[0], kto.numbers[10], kto.numbers[11]),
        (0.1, 1.0, 1.0)); // beta, both weights
    let status =
        unsafe { bnfloss_workspace(&layout, &spec, 0, S as i64, &mut bytes) };
    assert_eq!(status, 0);
    let mut work = vec![0u8; bytes as usize];
    let mut run = |logits: *const f32| unsafe {
        bnfloss_run(
            &layout,
            &spec,
            &inputs,
            logits as *const c_void,
            labels.as_ptr() as *const c_void,
            grad.as_mut_ptr() as *mut c_void,
            null(),
            work.as_mut_ptr() as *mut c_void,
            bytes,
            0,
            &mut result,
        )
    };
    assert_eq!(run(null()), E_NULL);
    assert_eq!(run(logits.as_ptr()), 0);

    let (mut loss, mut full) = (0.0, 0);
    for s in 0..S {
        let (from, to) = (seq_start[s] as usize, seq_start[s + 1] as usize);
        let share = side[s] as f64 / (to - from) as f64 / S as f64;
        for i in from..to {
            let z = &logits[i * V..(i + 1) * V];
            let (value, slope, whole) = row(z, labels[i] as usize, ref_logp[i]);
            loss += share * value;
            full += whole as i32;
            for v in 0..V {
                let error = grad[i * V + v] as f64 - share * slope[v];
                assert!(error.abs() < 3e-7, "row {} column {}", i, v);
            }
        }
    }
    assert!((result.loss - loss).abs() < 1e-6, "loss {}", result.loss);
    assert_eq!((result.tokens, result.sequences, result.location), (5, 2, -1));
    assert_eq!(result.metrics[15], full as f64 / 5.0); // bnf_full_share
    assert_eq!(text(unsafe { bnfloss_status_string(0) }), "ok");
    assert_eq!(text(unsafe { bnfloss_version() }).split('.').count(), 3);
}
