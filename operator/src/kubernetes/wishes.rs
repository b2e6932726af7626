//! From what the API server holds to what is wished: every resource that holds, with the keys of its Secret.
//!
//! A resource that holds no more, since it is older than its rules, keeps what it last said: its status tells what is wrong.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use headwater_contract::PublishKey;
use k8s_openapi::api::core::v1::Secret;
use kube::ResourceExt;
use kube::runtime::reflector::ObjectRef;
use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;

use super::observe::Stores;
use crate::fleet::ResourceId;
use crate::platform::{OriginWish, Wishes, origin_id, pool_id, usable_keys};
use crate::validate::{self, ValidOrigin, ValidPool};

/// Makes the wishes anew after each change, until `stop`.
pub async fn keep(stores: Stores, changed: Arc<Notify>, wishes: watch::Sender<Arc<Wishes>>, stop: CancellationToken) {
    loop {
        let new = read(&stores, &wishes.borrow());
        wishes.send_if_modified(|known| {
            let differs = **known != new;
            if differs {
                *known = Arc::new(new);
            }
            differs
        });
        tokio::select! {
            () = changed.notified() => {}
            () = stop.cancelled() => return,
        }
    }
}

/// What is wished now; `before` is what was wished last.
pub fn read(stores: &Stores, before: &Wishes) -> Wishes {
    let mut unreadable = BTreeSet::new();
    let origins = stores.origins.state().into_iter().filter_map(|origin| {
        let spec: ValidOrigin = match validate::origin(&origin) {
            Ok(spec) => spec,
            Err(_) => {
                let id = ResourceId::origin(origin.namespace()?, origin.name_any());
                match before.origins.get(&id) {
                    Some(known) => known.spec.clone(),
                    None => {
                        unreadable.insert(id);
                        return None;
                    }
                }
            }
        };
        let keys = spec.keys_secret.as_ref().map(|name| {
            let secret = stores
                .secrets
                .get(&ObjectRef::new(name.as_str()).within(&spec.key.namespace));
            secret.map(|secret| keys_of(&secret)).unwrap_or_default()
        });
        Some((origin_id(&spec.key), OriginWish { spec, keys }))
    });
    let origins = origins.collect();
    let pools = stores.pools.state().into_iter().filter_map(|pool| {
        let spec: ValidPool = match validate::pool(&pool) {
            Ok(spec) => spec,
            Err(_) => {
                let id = ResourceId::pool(pool.namespace()?, pool.name_any());
                match before.pools.get(&id) {
                    Some(known) => known.clone(),
                    None => {
                        unreadable.insert(id);
                        return None;
                    }
                }
            }
        };
        Some((pool_id(&spec.key), spec))
    });
    let pools = pools.collect();
    Wishes {
        origins,
        pools,
        // The kubelets bring them.
        certificates: BTreeMap::new(),
        unreadable,
    }
}

/// The publish keys of a Secret. A line end at a key's end comes from the file that it was made of, and is no part of it.
pub(super) fn keys_of(secret: &Secret) -> BTreeMap<String, PublishKey> {
    let data = secret.data.iter().flatten();
    usable_keys(data.filter_map(|(name, key)| {
        let key = std::str::from_utf8(&key.0).ok()?.trim_end_matches(['\r', '\n']);
        Some((name.clone(), PublishKey::new(key)))
    }))
}

#[cfg(test)]
mod tests {
    use k8s_openapi::ByteString;

    use super::*;

    #[test]
    fn a_secret_made_of_a_file_has_no_line_end_in_its_key() {
        let data = [
            ("cam1", b"s3cret\n".to_vec()),
            ("*", b"any".to_vec()),
            (".wrong", b"x".to_vec()),
            ("binary", vec![0xff, 0xfe]),
        ];
        let secret = Secret {
            data: Some(data.map(|(name, key)| (name.to_owned(), ByteString(key))).into()),
            ..Secret::default()
        };
        let keys = keys_of(&secret);
        assert_eq!(keys.keys().collect::<Vec<_>>(), ["*", "cam1"]);
        assert_eq!(keys["cam1"].expose(), "s3cret");
    }
}
