//! Which streams of output there are, in order and page by page. Pure.

use std::cmp::Ordering;

use super::page::{Attempt, bad_token};
use crate::error::AwsError;

/// A stream of output.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Listed {
    pub(super) name: String,
    pub(super) of: Attempt,
    /// When its last output came.
    pub(super) last: i64,
}

/// What streams are ordered by; names make it total.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Order {
    Name,
    Last,
}

/// What is wanted of the list.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wanted<'a> {
    pub(super) prefix: &'a str,
    pub(super) order: Order,
    pub(super) descending: bool,
    pub(super) limit: usize,
    pub(super) token: Option<&'a str>,
}

impl Wanted<'_> {
    /// The page that is asked for, and the token of the next one if there is one.
    pub(super) fn page(
        self,
        mut streams: Vec<Listed>,
    ) -> Result<(Vec<Listed>, Option<String>), AwsError> {
        streams.retain(|stream| stream.name.starts_with(self.prefix));
        if let Some(token) = self.token {
            let (last, name) = self.read(token)?;
            streams.retain(|s| self.compare((s.last, &s.name), (last, name)) == Ordering::Greater);
        }
        streams.sort_by(|a, b| self.compare((a.last, &a.name), (b.last, &b.name)));
        let has_more = streams.len() > self.limit;
        streams.truncate(self.limit);
        let token = streams.last().filter(|_| has_more).map(|last| self.token_of(last));
        Ok((streams, token))
    }

    fn compare(self, a: (i64, &str), b: (i64, &str)) -> Ordering {
        let order = match self.order {
            Order::Name => a.1.cmp(b.1),
            Order::Last => a.cmp(&b),
        };
        if self.descending { order.reverse() } else { order }
    }

    fn token_of(self, stream: &Listed) -> String {
        format!("{}/{}", stream.last, stream.name)
    }

    fn read(self, token: &str) -> Result<(i64, &str), AwsError> {
        let (last, name) = token.split_once('/').ok_or_else(bad_token)?;
        Ok((last.parse().map_err(|_| bad_token())?, name))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use windrow_common::ids::JobId;

    use super::*;

    fn listed(name: &str, last: i64) -> Listed {
        let of = Attempt { job: JobId::from_u128(1), child: 0, attempt: 1 };
        Listed { name: name.to_owned(), of, last }
    }

    fn all(streams: &[Listed], wanted: Wanted<'_>) -> Vec<String> {
        let (mut names, mut token) = (Vec::new(), None::<String>);
        loop {
            let wanted = Wanted { token: token.as_deref(), ..wanted };
            let (page, next) = wanted.page(streams.to_vec()).unwrap();
            assert!(page.len() <= wanted.limit);
            names.extend(page.into_iter().map(|stream| stream.name));
            match next {
                Some(next) => token = Some(next),
                None => return names,
            }
        }
    }

    const BY_NAME: Wanted<'_> =
        Wanted { prefix: "", order: Order::Name, descending: false, limit: 2, token: None };

    #[test]
    fn streams_are_ordered_by_name_or_time() {
        let streams = [listed("b/1", 5), listed("a/1", 9), listed("b/2", 5)];
        assert_eq!(all(&streams, BY_NAME), ["a/1", "b/1", "b/2"]);
        assert_eq!(all(&streams, Wanted { prefix: "b/", ..BY_NAME }), ["b/1", "b/2"]);
        let latest = Wanted { order: Order::Last, descending: true, ..BY_NAME };
        assert_eq!(all(&streams, latest), ["a/1", "b/2", "b/1"]);
        let wrong = Wanted { token: Some("?"), ..BY_NAME }.page(Vec::new()).unwrap_err();
        assert_eq!(wrong.code, "InvalidParameterException");
    }

    proptest! {
        #[test]
        fn pages_put_together_are_all_streams(
            times in prop::collection::vec(0i64..4, 0..12),
            limit in 1usize..5,
            by_time: bool,
            descending: bool,
        ) {
            let streams: Vec<Listed> = times.iter().enumerate()
                .map(|(number, last)| listed(&format!("s/{number:02}"), *last)).collect();
            let order = if by_time { Order::Last } else { Order::Name };
            let wanted = Wanted { order, descending, limit, ..BY_NAME };
            let mut expected: Vec<(i64, String)> = streams.iter()
                .map(|s| (if by_time { s.last } else { 0 }, s.name.clone())).collect();
            expected.sort();
            if descending {
                expected.reverse();
            }
            let expected: Vec<String> = expected.into_iter().map(|(_, name)| name).collect();
            prop_assert_eq!(all(&streams, wanted), expected);
        }
    }
}
