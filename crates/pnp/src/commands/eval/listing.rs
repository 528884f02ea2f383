//! `pnp eval --neighbours k --out nn.npy`: the lists themselves.

use std::path::{Path, PathBuf};

use pnp_ranking::metric::Distance;
use pnp_ranking::neighbours::nearest;

use super::super::print;
use super::sets::{inputs, rows};
use crate::array;
use crate::cli::EvalArgs;
use crate::failure::Failure;
use crate::outputs;

/// Writes the ids of each query's neighbours, and their similarities or distances beside them.
pub(super) fn run(
    args: &EvalArgs,
    k: usize,
    out: &Path,
    distance: Distance,
) -> Result<(), Failure> {
    let ([embeddings], [] | [_]) = (&args.embeddings[..], &args.gallery[..]) else {
        let rule = "--neighbours are those of one query set in one gallery: give one file of each";
        return Err(Failure::Usage(rule.into()));
    };
    let values = beside(out, distance);
    if out.extension().is_none_or(|extension| extension != "npy") {
        let shown = out.display();
        return Err(Failure::Usage(format!("--out '{shown}' is to be a .npy file: name it so")));
    }
    let files = [out.to_owned(), values.clone()];
    outputs::check(inputs(args), files.iter())?;
    let queries = array::read_embeddings(embeddings)?;
    let own = rows(embeddings, &queries)?;
    let gallery = args.gallery.first().map(|path| array::read_embeddings(path)).transpose()?;
    let others = args.gallery.first().zip(gallery.as_ref());
    let others = others.map(|(path, matrix)| rows(path, matrix)).transpose()?;
    let found = nearest(own, others, k, distance)?;
    let shape = [own.rows() as u64, found.k as u64];
    array::write(&values, &shape, &found.values)?;
    array::write(out, &shape, &found.indices)?;
    let (shown, values) = (out.display(), values.display());
    print(&format!("{} x {} neighbours  {shown}\n{distance}  {values}\n", shape[0], shape[1]))
}

/// `nn.npy` has `nn.similarities.npy` or `nn.distances.npy` beside it.
fn beside(out: &Path, distance: Distance) -> PathBuf {
    out.with_extension(match distance {
        Distance::Cosine => "similarities.npy",
        Distance::Euclidean => "distances.npy",
    })
}
