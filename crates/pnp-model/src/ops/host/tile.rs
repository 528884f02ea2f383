//! The innermost loops of the products on the host: a tile of the output is held in registers while
//! the summed dimension goes by.
//!
//! A tile is up to [`most_rows`] rows by one panel, two of the processor's vectors. Each of its
//! values is one chain of fused multiply-adds in the order of the summed dimension, so what comes
//! out does not depend on the tile's size, on where a product is cut into tiles, or on how wide the
//! vectors are.

#![expect(
    clippy::inline_always,
    reason = "the loops must be compiled for the processor that `pulp` dispatches to"
)]
#![expect(
    clippy::needless_range_loop,
    reason = "by numbers the loops over registers are unrolled; iterators keep sums in memory"
)]

use pulp::{Arch, Simd, WithSimd};

use crate::ops::Activation;

/// Vectors in a panel.
const VECTORS: usize = 2;
/// Floats in a panel at most: two vectors of the widest processors.
pub(super) const WIDEST: usize = 32;
/// Steps of the summed dimension that are unrolled.
const UNROLLED: usize = 4;

/// Runs work compiled for the widest vectors of the processor at hand.
pub(super) fn dispatch<W: WithSimd>(work: W) -> W::Output {
    #[cfg(test)]
    match VECTORS_OF_THREAD.get() {
        Vectors::Widest => {}
        #[cfg(target_arch = "x86_64")]
        Vectors::Avx2 => {
            if let Some(simd) = pulp::x86::V3::try_new() {
                return Simd::vectorize(simd, work);
            }
        }
        Vectors::None => return Simd::vectorize(pulp::Scalar::new(), work),
    }
    Arch::new().dispatch(work)
}

/// The vectors that a test has its thread take.
#[cfg(test)]
#[derive(Debug, Clone, Copy)]
pub(in crate::ops) enum Vectors {
    Widest,
    #[cfg(target_arch = "x86_64")]
    Avx2,
    None,
}

#[cfg(test)]
thread_local! {
    pub(in crate::ops) static VECTORS_OF_THREAD: std::cell::Cell<Vectors> =
        const { std::cell::Cell::new(Vectors::Widest) };
}

/// Floats in a panel of the processor at hand.
pub(super) fn panel_width() -> usize {
    struct Width;
    impl WithSimd for Width {
        type Output = usize;
        #[inline(always)]
        fn with_simd<S: Simd>(self, _: S) -> usize {
            width::<S>()
        }
    }
    dispatch(Width)
}

/// Floats in a panel.
#[inline(always)]
pub(super) fn width<S: Simd>() -> usize {
    VECTORS * lanes::<S>()
}

#[inline(always)]
fn lanes<S: Simd>() -> usize {
    size_of::<S::f32s>() / size_of::<f32>()
}

/// Rows of a tile at most: two registers each, with a few left for a panel's vectors and a value.
#[inline(always)]
pub(super) fn most_rows<S: Simd>() -> usize {
    if S::REGISTER_COUNT >= 32 { 12 } else { 6 }
}

/// What the sums have besides their products.
#[derive(Debug, Clone, Copy)]
pub(super) enum Start {
    /// Nothing.
    Zero,
    /// A value of each column, with which its sums begin: as many as a panel has.
    Bias(*const f32),
    /// What stands in the output, added at the end.
    Kept,
}

/// Where a tile goes and what becomes of it on the way.
#[derive(Debug, Clone, Copy)]
pub(super) struct Target {
    /// The first column's place of each row.
    pub(super) rows: *const *mut f32,
    /// Where the tile begins in each row.
    pub(super) column: usize,
    /// Columns that are there: a panel may reach beyond the last.
    pub(super) columns: usize,
    pub(super) start: Start,
    /// What is added before the activation: the first column's place of each row, or null.
    pub(super) added: *const *const f32,
    pub(super) activation: Activation,
}

/// Rows to be multiplied, told by pointers: `run` values of each at each of some places, the taps.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sources<'a> {
    /// `[taps, rows]`.
    pub(super) pointers: *const *const f32,
    /// Where the panel of each tap begins, in floats.
    pub(super) panels: &'a [usize],
    /// The first value of each run.
    pub(super) skip: usize,
    pub(super) run: usize,
}

/// `tile[r, j] = Σ over taps t and values k of source[t, r][k] · panel[t][k, j]`.
///
/// # Safety
///
/// Every pointer is good for what the fields say: `skip + run` values of each source, `run` rows
/// of [`width`] values from each place of the panel, `column + columns` values of each target,
/// which nothing else refers to.
#[inline(always)]
pub(super) unsafe fn by_rows<S: Simd, const ROWS: usize>(
    simd: S,
    sources: Sources,
    panel: *const f32,
    target: Target,
) {
    // SAFETY: as the caller promises.
    let mut sums = [unsafe { begun(simd, target.start) }; ROWS];
    for (t, &place) in sources.panels.iter().enumerate() {
        // SAFETY: as the caller promises.
        unsafe {
            let mut rows = [std::ptr::null::<f32>(); ROWS];
            for (r, row) in rows.iter_mut().enumerate() {
                *row = (*sources.pointers.add(t * ROWS + r)).add(sources.skip);
            }
            let mut panel = panel.add(place);
            let whole = sources.run - sources.run % UNROLLED;
            for k in (0..whole).step_by(UNROLLED) {
                for j in 0..UNROLLED {
                    step::<S, ROWS>(
                        simd,
                        #[inline(always)]
                        |r| *rows[r].add(k + j),
                        panel.add(j * width::<S>()),
                        &mut sums,
                    );
                }
                panel = panel.add(UNROLLED * width::<S>());
            }
            for k in whole..sources.run {
                step::<S, ROWS>(
                    simd,
                    #[inline(always)]
                    |r| *rows[r].add(k),
                    panel,
                    &mut sums,
                );
                panel = panel.add(width::<S>());
            }
        }
    }
    // SAFETY: as the caller promises.
    unsafe { store(simd, sums, target) };
}

/// `tile[r, j] = Σ over k of values[k · step + r] · rows[k][skip + j]`.
///
/// # Safety
///
/// As for [`by_rows`]: `ROWS` values from every step of `values`, [`width`] values of each row.
#[inline(always)]
pub(super) unsafe fn by_columns<S: Simd, const ROWS: usize>(
    simd: S,
    values: *const f32,
    step_of_values: usize,
    rows: &[*const f32],
    skip: usize,
    target: Target,
) {
    // SAFETY: as the caller promises.
    let mut sums = [unsafe { begun(simd, target.start) }; ROWS];
    let mut values = values;
    for row in rows {
        // SAFETY: as the caller promises.
        unsafe {
            step::<S, ROWS>(
                simd,
                #[inline(always)]
                |r| *values.add(r),
                row.add(skip),
                &mut sums,
            );
        }
        values = values.wrapping_add(step_of_values);
    }
    // SAFETY: as the caller promises.
    unsafe { store(simd, sums, target) };
}

/// One step of the summed dimension.
#[inline(always)]
unsafe fn step<S: Simd, const ROWS: usize>(
    simd: S,
    value: impl Fn(usize) -> f32,
    panel: *const f32,
    sums: &mut [[S::f32s; VECTORS]; ROWS],
) {
    let mut vectors = [simd.splat_f32s(0.0); VECTORS];
    for (v, vector) in vectors.iter_mut().enumerate() {
        // SAFETY: a row of the panel is there, as the caller promises.
        *vector = unsafe { panel.add(v * lanes::<S>()).cast::<S::f32s>().read_unaligned() };
    }
    for r in 0..ROWS {
        let value = simd.splat_f32s(value(r));
        for v in 0..VECTORS {
            sums[r][v] = simd.mul_add_e_f32s(value, vectors[v], sums[r][v]);
        }
    }
}

#[inline(always)]
unsafe fn store<S: Simd, const ROWS: usize>(
    simd: S,
    sums: [[S::f32s; VECTORS]; ROWS],
    target: Target,
) {
    if target.columns >= width::<S>() {
        // Unrolled: sums that are reached by a number would have to be in memory all along.
        for r in 0..ROWS {
            // SAFETY: as the caller of the tile promises.
            unsafe {
                let row = (*target.rows.add(r)).add(target.column);
                let mut sums = sums[r];
                if matches!(target.start, Start::Kept) {
                    sums = with_row(simd, sums, row);
                }
                if !target.added.is_null() {
                    sums = with_row(simd, sums, (*target.added.add(r)).add(target.column));
                }
                store_row(simd, sums, row, target.activation);
            }
        }
        return;
    }
    // By way of panels that are there as a whole.
    let mut whole = [[0.0f32; WIDEST]; ROWS];
    let Target { rows, column, columns, start, added, activation } = target;
    // SAFETY: as the caller of the tile promises.
    unsafe {
        for r in 0..ROWS {
            let place = whole[r].as_mut_ptr();
            let mut sums = sums[r];
            if matches!(start, Start::Kept) {
                std::ptr::copy_nonoverlapping((*rows.add(r)).add(column), place, columns);
                sums = with_row(simd, sums, place);
            }
            if !added.is_null() {
                std::ptr::copy_nonoverlapping((*added.add(r)).add(column), place, columns);
                sums = with_row(simd, sums, place);
            }
            store_row(simd, sums, place, activation);
        }
        for (r, whole) in whole.iter().enumerate() {
            let row = (*rows.add(r)).add(column);
            std::ptr::copy_nonoverlapping(whole.as_ptr(), row, columns);
        }
    }
}

/// `max(0, x)`; what is no number stays none.
#[inline(always)]
fn raised<S: Simd>(simd: S, x: S::f32s) -> S::f32s {
    let zero = simd.splat_f32s(0.0);
    simd.select_f32s(simd.less_than_f32s(x, zero), zero, x)
}

/// What a row's sums begin with.
#[inline(always)]
unsafe fn begun<S: Simd>(simd: S, start: Start) -> [S::f32s; VECTORS] {
    let zeros = [simd.splat_f32s(0.0); VECTORS];
    match start {
        Start::Zero | Start::Kept => zeros,
        // SAFETY: as the caller of the tile promises.
        Start::Bias(bias) => unsafe { with_row(simd, zeros, bias) },
    }
}

/// A row's sums with the values that stand there.
#[inline(always)]
unsafe fn with_row<S: Simd>(
    simd: S,
    mut sums: [S::f32s; VECTORS],
    row: *const f32,
) -> [S::f32s; VECTORS] {
    for v in 0..VECTORS {
        // SAFETY: as the caller of the tile promises.
        let vector = unsafe { row.add(v * lanes::<S>()).cast::<S::f32s>().read_unaligned() };
        sums[v] = simd.add_f32s(vector, sums[v]);
    }
    sums
}

#[inline(always)]
unsafe fn store_row<S: Simd>(
    simd: S,
    sums: [S::f32s; VECTORS],
    row: *mut f32,
    activation: Activation,
) {
    for v in 0..VECTORS {
        let sum = sums[v];
        let value = match activation {
            Activation::None => sum,
            Activation::Relu => raised(simd, sum),
            Activation::Relu6 => {
                let six = simd.splat_f32s(6.0);
                simd.select_f32s(simd.less_than_f32s(six, sum), six, raised(simd, sum))
            }
        };
        // SAFETY: as the caller of the tile promises.
        unsafe { row.add(v * lanes::<S>()).cast::<S::f32s>().write_unaligned(value) };
    }
}

/// Calls a function for a number of rows that is known to the compiler.
macro_rules! with_rows {
    ($rows:expr, $kernel:ident :: <$simd:ty> ($($argument:expr),*)) => {
        match $rows {
            1 => $kernel::<$simd, 1>($($argument),*),
            2 => $kernel::<$simd, 2>($($argument),*),
            3 => $kernel::<$simd, 3>($($argument),*),
            4 => $kernel::<$simd, 4>($($argument),*),
            5 => $kernel::<$simd, 5>($($argument),*),
            6 => $kernel::<$simd, 6>($($argument),*),
            7 => $kernel::<$simd, 7>($($argument),*),
            8 => $kernel::<$simd, 8>($($argument),*),
            9 => $kernel::<$simd, 9>($($argument),*),
            10 => $kernel::<$simd, 10>($($argument),*),
            11 => $kernel::<$simd, 11>($($argument),*),
            12 => $kernel::<$simd, 12>($($argument),*),
            rows => unreachable!("a tile of {rows} rows"),
        }
    };
}
pub(super) use with_rows;

/// Cuts rows into tiles of at most `most` that are as alike as can be: the first row of each and
/// how many there are.
#[inline(always)]
pub(super) fn tiles(rows: usize, most: usize) -> impl Iterator<Item = (usize, usize)> {
    let count = rows.div_ceil(most).max(1);
    (0..count).map(move |i| {
        let (first, end) = (i * rows / count, (i + 1) * rows / count);
        (first, end - first)
    })
}
