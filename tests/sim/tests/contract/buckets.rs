//! Properties of the key-value bucket in memory and of the bucket of objects.

use crate::Nats;

pub(crate) fn a_key_is_set_at_its_revision_only(nats: &mut dyn Nats) {
    assert_eq!(nats.kv_get("k"), None);
    assert_eq!(nats.kv_update("k", "early", 5), None);
    let first = nats.kv_update("k", "a", 0).unwrap();
    assert_eq!(nats.kv_update("k", "another", 0), None);
    let second = nats.kv_update("k", "b", first).unwrap();
    assert!(second > first);
    assert_eq!(nats.kv_update("k", "late", first), None);
    assert_eq!(nats.kv_get("k"), Some((second, "b".to_owned())));
}

pub(crate) fn a_deleted_key_can_be_set_anew(nats: &mut dyn Nats) {
    let first = nats.kv_update("k", "a", 0).unwrap();
    nats.kv_delete("k");
    assert_eq!(nats.kv_get("k"), None);
    assert_eq!(nats.kv_update("k", "late", first), None);
    assert!(nats.kv_update("k", "b", 0).unwrap() > first);
}

pub(crate) fn revisions_rise_over_all_keys(nats: &mut dyn Nats) {
    let first = nats.kv_update("k", "a", 0).unwrap();
    let other = nats.kv_update("l", "a", 0).unwrap();
    let second = nats.kv_update("k", "b", first).unwrap();
    assert!(first < other && other < second);
}

pub(crate) fn a_bucket_in_memory_is_empty_after_a_kill(nats: &mut dyn Nats) {
    let first = nats.kv_update("k", "a", 0).unwrap();
    let second = nats.kv_update("k", "b", first).unwrap();
    nats.restart();
    assert_eq!(nats.kv_get("k"), None);
    assert_eq!(nats.kv_update("k", "c", second), None);
    let again = nats.kv_update("k", "c", 0).unwrap();
    assert_eq!(again, first, "revisions are given again");
}

pub(crate) fn objects_are_replaced_listed_and_removed(nats: &mut dyn Nats) {
    assert_eq!((nats.objects(), nats.object("a")), (Vec::new(), None));
    // Larger than a message may be.
    let large: Vec<u8> = (0..3_000_000_u32).map(|n| u8::try_from(n % 251).unwrap()).collect();
    nats.put_object("b", b"b");
    nats.put_object("a", b"old");
    nats.put_object("a", &large);
    let mut names = nats.objects();
    names.sort();
    assert_eq!(names, ["a", "b"]);
    assert!(nats.object("a") == Some(large));
    nats.delete_object("a");
    assert_eq!((nats.objects(), nats.object("a")), (vec!["b".to_owned()], None));
}

pub(crate) fn objects_survive_a_kill(nats: &mut dyn Nats) {
    nats.put_object("a", b"1");
    nats.restart();
    assert_eq!(nats.object("a").as_deref(), Some(&b"1"[..]));
}
