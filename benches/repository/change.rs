//! Changes records here and there: `change FILE SEED REGIONS LENGTH` adds one to a byte of each 41, in so many regions of
//! so many bytes. What was compressible stays so. Standard library alone, so that `rustc -O` builds it.

use std::{env, fs::File, io, os::unix::fs::FileExt};

const RECORD: usize = 41;

fn main() -> io::Result<()> {
    let words: Vec<String> = env::args().collect();
    let number = |index: usize| words[index].parse::<u64>().expect("a number");
    let (file, length) = (File::options().read(true).write(true).open(&words[1])?, number(4));
    let size = file.metadata()?.len();
    let mut random = number(2).wrapping_mul(6_364_136_223_846_793_005) | 1;
    for _ in 0..number(3) {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        let at = random % (size - length).max(1);
        let mut bytes = vec![0; usize::try_from(length).expect("fits")];
        file.read_exact_at(&mut bytes, at)?;
        for byte in bytes.iter_mut().step_by(RECORD) {
            *byte = byte.wrapping_add(1);
        }
        file.write_all_at(&bytes, at)?;
    }
    file.sync_all()
}
