//! What a policy allows: a pure question about a document, an action and resources.

use windrow_common::api::access::{Effect, PolicyDocument, Statement};

/// Why something is not allowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Denied<'a> {
    /// A statement denies it.
    Explicitly(&'a str),
    /// No statement allows it.
    ByDefault(&'a str),
}

/// Whether the action is allowed on every one of the resources. No policy allows everything.
///
/// `action` is as `batch:SubmitJob`; resources are ARNs, or `*` for an action that is about none.
pub(super) fn check<'a>(
    policy: Option<&PolicyDocument>,
    action: &str,
    resources: &'a [String],
) -> Result<(), Denied<'a>> {
    let Some(policy) = policy else { return Ok(()) };
    let concerns = |statement: &&Statement| {
        let matches = |pattern: &String| {
            glob(pattern.to_ascii_lowercase().as_bytes(), action.to_ascii_lowercase().as_bytes())
        };
        statement.action.iter().any(matches)
    };
    let has = |effect: Effect, resource: &str| {
        let statements = policy.statement.iter().filter(|one| one.effect == effect);
        let mut patterns = statements.filter(concerns).flat_map(|one| &one.resource);
        patterns.any(|pattern| covers(pattern, resource))
    };
    if let Some(resource) = resources.iter().find(|resource| has(Effect::Deny, resource)) {
        return Err(Denied::Explicitly(resource));
    }
    match resources.iter().find(|resource| !has(Effect::Allow, resource)) {
        Some(resource) => Err(Denied::ByDefault(resource)),
        None => Ok(()),
    }
}

/// Whether a policy's text means this resource. A cluster is one account in one region, so those parts of
/// an ARN are not compared; a text that is no ARN is a job queue's name, or begins with the kind of thing.
fn covers(pattern: &str, resource: &str) -> bool {
    let own = parts(resource);
    match (parts(pattern), own) {
        (Some((service, named)), Some((own_service, own_named))) => {
            glob(service.as_bytes(), own_service.as_bytes())
                && glob(named.as_bytes(), own_named.as_bytes())
        }
        (None, _) if pattern == "*" => true,
        (None, Some(("batch", own_named))) => match pattern.contains('/') {
            true => glob(pattern.as_bytes(), own_named.as_bytes()),
            false => own_named
                .strip_prefix("job-queue/")
                .is_some_and(|queue| glob(pattern.as_bytes(), queue.as_bytes())),
        },
        (Some(_) | None, _) => false,
    }
}

/// Service and resource of an ARN.
fn parts(arn: &str) -> Option<(&str, &str)> {
    let mut parts = arn.strip_prefix("arn:")?.splitn(5, ':');
    let (_partition, service) = (parts.next()?, parts.next()?);
    let (_region, _account) = (parts.next()?, parts.next()?);
    Some((service, parts.next()?))
}

/// `*` stands for any text, `?` for any byte. Looks at most at every pair of a byte and a pattern's byte.
fn glob(pattern: &[u8], text: &[u8]) -> bool {
    let (mut p, mut t) = (0, 0);
    // Where to go on when what follows the last `*` does not fit.
    let mut retry: Option<(usize, usize)> = None;
    while t < text.len() {
        match pattern.get(p) {
            Some(b'*') => {
                retry = Some((p + 1, t));
                p += 1;
            }
            Some(&byte) if byte == b'?' || byte == text[t] => (p, t) = (p + 1, t + 1),
            Some(_) | None => {
                let Some((after, from)) = retry else { return false };
                retry = Some((after, from + 1));
                (p, t) = (after, from + 1);
            }
        }
    }
    pattern[p..].iter().all(|byte| *byte == b'*')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy(statements: &[(&str, &str, &str)]) -> PolicyDocument {
        let statement = |(effect, action, resource): &(&str, &str, &str)| serde_json::json!({"Effect": effect, "Action": action, "Resource": resource});
        let all: Vec<_> = statements.iter().map(statement).collect();
        serde_json::from_value(serde_json::json!({"Statement": all})).unwrap()
    }

    fn queue(name: &str) -> String {
        format!("arn:aws:batch:local:000000000000:job-queue/{name}")
    }

    fn may(policy: &PolicyDocument, action: &str, resource: &str) -> bool {
        check(Some(policy), action, &[resource.to_owned()]).is_ok()
    }

    #[test]
    fn nothing_is_allowed_that_no_statement_allows() {
        let gpu = policy(&[("Allow", "batch:submit*", "gpu*")]);
        assert!(may(&gpu, "batch:SubmitJob", &queue("gpu")));
        assert!(may(&gpu, "batch:SubmitJob", &queue("gpu-large")));
        assert!(!may(&gpu, "batch:SubmitJob", &queue("cpu")));
        assert!(!may(&gpu, "batch:TerminateJob", &queue("gpu")));
        assert!(!may(&gpu, "batch:SubmitJob", "*"), "about nothing in particular");
        assert!(!may(&gpu, "batch:SubmitJob", "arn:aws:batch:local:0:job-definition/gpu"));
        let both = [queue("gpu"), queue("cpu")];
        assert_eq!(
            check(Some(&gpu), "batch:SubmitJob", &both),
            Err(Denied::ByDefault(&both[1])),
            "each of the resources has to be allowed"
        );
        assert_eq!(check(None, "batch:SubmitJob", &both), Ok(()));
    }

    #[test]
    fn deny_wins_whatever_the_order() {
        let (allow, deny) = (("Allow", "*", "*"), ("Deny", "batch:Delete*", "*"));
        for both in [[allow, deny], [deny, allow]] {
            let policy = policy(&both);
            assert!(may(&policy, "batch:SubmitJob", &queue("q")));
            let resources = [queue("q")];
            assert_eq!(
                check(Some(&policy), "batch:DeleteJobQueue", &resources),
                Err(Denied::Explicitly(&resources[0]))
            );
        }
    }

    #[test]
    fn resources_are_arns_of_any_region_and_account_or_short() {
        let named = |resource| policy(&[("Allow", "batch:*", resource)]);
        for resource in [
            "*",
            "q",
            "?",
            "job-queue/*",
            "arn:aws:batch:*:*:job-queue/q",
            "arn:aws:batch:us-east-1:123456789012:job-queue/*",
            "arn:aws:batch:*:*:*",
        ] {
            assert!(may(&named(resource), "batch:SubmitJob", &queue("q")), "{resource}");
        }
        for resource in ["qq", "job-definition/*", "arn:aws:logs:*:*:*", "arn:aws:batch:*:*:job/q"]
        {
            assert!(!may(&named(resource), "batch:SubmitJob", &queue("q")), "{resource}");
        }
        let group = "arn:aws:logs:local:000000000000:log-group:/aws/batch/job:log-stream:x";
        let logs = policy(&[("Allow", "logs:*", "arn:aws:logs:*:*:log-group:/aws/batch/*")]);
        assert!(may(&logs, "logs:GetLogEvents", group));
        assert!(!may(&named("log-group"), "logs:GetLogEvents", group));
    }

    #[test]
    fn a_pattern_full_of_stars_is_quick() {
        let (pattern, text) = ("*a".repeat(500), "a".repeat(499) + "b");
        assert!(!glob(pattern.as_bytes(), text.as_bytes()));
        assert!(glob(b"a*c?e", b"abcccde") && !glob(b"a*c?e", b"abccce0"));
        assert!(glob(b"**", b"") && !glob(b"?", b""));
    }
}
