//! Order statistics of small samples.

/// The value that this share (0 to 1) of the sample does not exceed; 0 of no sample.
pub(crate) fn quantile(sample: &[f64], share: f64) -> f64 {
    let mut sorted = sample.to_vec();
    sorted.sort_by(f64::total_cmp);
    let count = sorted.len();
    // The nearest rank: always a value that was measured.
    let below = (0..count).take_while(|&index| fraction(index + 1, count) < share).count();
    sorted.get(below.min(count.saturating_sub(1))).copied().unwrap_or(0.0)
}

/// The median with the least and the most of the sample, with so many digits after the point.
pub(crate) fn spread(sample: &[f64], digits: usize) -> String {
    let (least, most) = (quantile(sample, 0.0), quantile(sample, 1.0));
    format!("{:.digits$} [{least:.digits$} to {most:.digits$}]", median(sample))
}

/// Half of the sample lies on each side.
pub(crate) fn median(sample: &[f64]) -> f64 {
    let (low, high) = (quantile(sample, 0.5), -quantile(&negated(sample), 0.5));
    f64::midpoint(low, high)
}

fn negated(sample: &[f64]) -> Vec<f64> {
    sample.iter().map(|value| -value).collect()
}

fn fraction(part: usize, whole: usize) -> f64 {
    to_f64(part) / to_f64(whole)
}

fn to_f64(count: usize) -> f64 {
    f64::from(u32::try_from(count).unwrap_or(u32::MAX))
}
