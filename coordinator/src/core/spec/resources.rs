//! What a container needs: the newer form, `resourceRequirements`, and the older `vcpus`, `memory`.

use windrow_common::api::ApiError;
use windrow_common::api::definitions::ResourceRequirement;
use windrow_common::units::{MiB, MilliCpu, Resources};

use super::settings::Settings;
use super::shown;

/// Least memory, as Docker and AWS have it.
const MEMORY_MIB_MIN: u32 = 4;

/// What one container needs.
pub(super) fn needs(settings: &Settings<'_>) -> Result<Resources, ApiError> {
    let (mut cpu, mut memory, mut gpu) = (None, None, None);
    for requirement in settings.requirements {
        let ResourceRequirement { kind, value } = requirement;
        let wrong = |rule: &str| {
            ApiError::invalid(format!("resource {kind} must be {rule}, got `{}`", shown(value)))
        };
        let place = match kind.as_str() {
            "VCPU" => (&mut cpu, milli_cpu(value), "a number of cores from 0.001 to 1000000"),
            "MEMORY" => (&mut memory, value.parse().ok(), "a whole number of MiB of at least 4"),
            "GPU" => (&mut gpu, value.parse().ok(), "a whole number of devices"),
            other => {
                return Err(ApiError::invalid(format!(
                    "resource requirement type must be VCPU, MEMORY or GPU, got `{}`",
                    shown(other)
                )));
            }
        };
        let (known, value, rule) = place;
        let value: u32 = value.ok_or_else(|| wrong(rule))?;
        if known.replace(value).is_some() {
            return Err(ApiError::invalid(format!("resourceRequirements has {kind} twice")));
        }
    }
    let cpu = one_of("vcpus", cpu, settings.vcpus.map(|vcpus| vcpus.saturating_mul(1000)))?;
    let memory = one_of("memory", memory, settings.memory)?;
    let cpu = cpu.filter(|cpu| *cpu > 0);
    let cpu = cpu.ok_or_else(|| ApiError::invalid("vCPU is not provided.").hint(HINT))?;
    let memory = memory.ok_or_else(|| ApiError::invalid("Memory is not provided.").hint(HINT))?;
    if memory < MEMORY_MIB_MIN {
        return Err(ApiError::invalid(format!(
            "container memory must be at least {MEMORY_MIB_MIN} MiB, got {memory}"
        )));
    }
    Ok(Resources { cpu: MilliCpu(cpu), memory: MiB(memory), gpu: gpu.unwrap_or(0) })
}

const HINT: &str = "say it in resourceRequirements with the types VCPU and MEMORY";

/// Of the newer and the older form the one given; both only when they say the same.
fn one_of(field: &str, newer: Option<u32>, older: Option<u32>) -> Result<Option<u32>, ApiError> {
    match (newer, older) {
        (Some(newer), Some(older)) if newer != older => {
            Err(ApiError::invalid(format!("{field} and resourceRequirements say different things"))
                .hint(format!("leave {field} out: it is the older form")))
        }
        _ => Ok(newer.or(older)),
    }
}

/// Thousandths of a core, from a decimal number, in integers only.
pub(super) fn milli_cpu(text: &str) -> Option<u32> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let digits = |t: &str| t.bytes().all(|b| b.is_ascii_digit());
    if (whole.is_empty() && fraction.is_empty()) || !digits(whole) || !digits(fraction) {
        return None;
    }
    let whole: u32 = if whole.is_empty() { 0 } else { whole.parse().ok()? };
    let kept: String = fraction.chars().chain("000".chars()).take(3).collect();
    let milli = whole.checked_mul(1000)?.checked_add(kept.parse().ok()?)?;
    (1..=1_000_000_000).contains(&milli).then_some(milli)
}
