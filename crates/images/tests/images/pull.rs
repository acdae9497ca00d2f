//! Pulls: resumed, shared, dropped, over TLS.

use std::sync::Arc;
use std::time::Duration;

use crate::host::{Host, Messages, Proxy, TestImage, TestRegistry};
use crate::unused;
use berth_ctrd::Labels;
use berth_errdefs::{Classify, Kind};
use berth_images::{Error, Platform, Progress, PullRequest};
use berth_reference::{Digest, Reference};

fn request(name: &str) -> PullRequest {
    PullRequest {
        reference: Reference::parse(name).unwrap(),
        platform: None,
        credentials: None,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pull_resumes_where_the_connection_broke() {
    let host = Host::start().await;
    let registry = TestRegistry::start(host.directory.path());
    let image = TestImage::new(6 << 20);
    let id = registry.push("app", "1", &image);
    let (layers, _) = image.oci();
    let cut = Digest::of(&layers[1]);
    let proxy = Proxy::start(registry.address, &cut, 4 << 20);
    let name = format!("{}/app:1", proxy.address);

    let before = host.calls();
    let (progress, messages) = Messages::new();
    let pull = host.images.pull(request(&name)).await.unwrap();
    let pulled = pull.run(&progress).await.unwrap();
    drop(progress);
    let calls = host.calls_since(&before);
    println!("RPCs of a pull of two layers, one resumed: {calls:?}");
    assert_eq!(pulled.id(), &id);
    assert_eq!(proxy.count(&format!("GET /v2/app/blobs/{cut}")), 2);
    let again = proxy.last(cut.as_str()).to_lowercase();
    let offset: u64 = again
        .split("range: bytes=")
        .nth(1)
        .unwrap()
        .split('-')
        .next()
        .unwrap()
        .parse()
        .unwrap();
    assert!(offset > 3 << 20, "taken up at {offset}");
    // Lease, stat ×2 and the deletion; per layer write, prepare, apply, commit, usage (one
    // write more for the resumed one); config, manifest, image.
    assert!(calls.values().sum::<u64>() <= 18, "{calls:?}");
    let texts = messages.texts().await;
    for text in [
        "Pulling from app",
        "Pulling fs layer",
        "Downloading",
        "Verifying Checksum",
        "Download complete",
        "Extracting",
        "Pull complete",
        &format!("Digest: {id}"),
        &format!("Status: Downloaded newer image for {name}"),
    ] {
        assert!(texts.iter().any(|t| t == text), "{text}: {texts:?}");
    }

    // The deletion of its lease is not waited for.
    host.assert_settled().await;
    let before = host.calls();
    let (progress, messages) = Messages::new();
    host.images
        .pull(request(&name))
        .await
        .unwrap()
        .run(&progress)
        .await
        .unwrap();
    drop(progress);
    let up_to_date = format!("Status: Image is up to date for {name}");
    assert_eq!(messages.texts().await.last().unwrap(), &up_to_date);
    assert_eq!(host.calls_since(&before).values().sum::<u64>(), 0);
    assert_eq!(host.actions(), ["pull", "pull"]);

    let missing = name.replace("/app:1", "/app:2");
    let error = host.images.pull(request(&missing)).await.unwrap_err();
    assert_eq!(error.kind(), Kind::NotFound);
    assert_eq!(
        error.to_string(),
        format!("manifest for {missing} not found: manifest unknown: manifest unknown")
    );
    host.images.remove(&name, false, unused()).await.unwrap();
    host.assert_settled().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn pulls_of_the_same_image_share_the_work_and_can_be_dropped() {
    let host = Host::start().await;
    let registry = TestRegistry::start(host.directory.path());
    let image = TestImage::new(2 << 20);
    registry.push("app", "1", &image);
    registry.push("app", "2", &image);
    let (layers, _) = image.oci();
    let proxy = Proxy::start(registry.address, &Digest::of(b"nothing"), 0);
    let name = |tag| format!("{}/app:{tag}", proxy.address);

    // Dropped in the middle: what it left goes with its lease.
    let (tx, mut rx) = tokio::sync::mpsc::channel(1);
    let progress = Progress::new(tx);
    let pull = host.images.pull(request(&name(1))).await.unwrap();
    tokio::select! {
        _ = pull.run(&progress) => panic!("nobody reads its progress"),
        _ = rx.recv() => {}
    }
    drop(rx);
    host.assert_settled().await;

    let quiet = Progress::none();
    let (one, two) = tokio::join!(
        async {
            host.images
                .pull(request(&name(1)))
                .await
                .unwrap()
                .run(&quiet)
                .await
                .unwrap()
        },
        async {
            host.images
                .pull(request(&name(2)))
                .await
                .unwrap()
                .run(&quiet)
                .await
                .unwrap()
        },
    );
    assert_eq!(one.id(), two.id());
    assert_eq!(
        proxy.count(&format!("GET /v2/app/blobs/{}", Digest::of(&layers[1]))),
        1
    );
    assert_eq!(host.images.count(), 1);
    let image = host.images.resolve(&name(2)).unwrap();
    assert_eq!(image.tags(), [name(1), name(2)]);
    assert!(Arc::strong_count(&image) >= 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn registries_over_tls_on_loopback_need_no_known_certificate() {
    let host = Host::start().await;
    let registry = TestRegistry::start_tls(host.directory.path());
    let image = TestImage::new(1000);
    // Pushed by a daemon would be the same: the registry's files are all there is to it.
    let plain = TestRegistry::start(host.directory.path());
    let id = plain.push("app", "1", &image);
    let name = format!("{}/app:1", registry.address);
    let pull = host.images.pull(request(&name)).await.unwrap();
    let pulled = pull.run(&Progress::none()).await.unwrap();
    assert_eq!(pulled.id(), &id);
    assert_eq!(
        host.images
            .resolve(&format!("{}/app@{id}", registry.address))
            .unwrap()
            .id(),
        &id
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn of_several_platforms_the_hosts_counts_whatever_else_is_pulled() {
    let host = Host::start().await;
    let registry = TestRegistry::start(host.directory.path());
    let here = Platform::host().architecture;
    let (native, foreign) = (TestImage::new(1000), TestImage::of(2000, "s390x"));
    let both = [(&foreign, "s390x"), (&native, here.as_str())];
    let id = registry.push_index("app", "both", &both);
    let alone = registry.push_index("app", "alone", &both[..1]);
    let name = |tag: &str| format!("{}/app:{tag}", registry.address);
    let quiet = Progress::none();

    let pull = host.images.pull(request(&name("both"))).await.unwrap();
    let image = pull.run(&quiet).await.unwrap();
    assert_eq!((image.id(), image.architecture()), (&id, here.as_str()));
    let shown = host.images.resolve(&name("both")).unwrap().inspect();
    assert_eq!(
        shown.repo_digests,
        [format!("{}/app@{id}", registry.address)]
    );

    let s390x = Platform::parse("linux/s390x").unwrap();
    let mut other = request(&name("both"));
    other.platform = Some(s390x.clone());
    let pull = host.images.pull(other).await.unwrap();
    let image = pull.run(&quiet).await.unwrap();
    assert_eq!((image.id(), image.architecture()), (&id, here.as_str()));
    let again = host.reopened().await;
    assert_eq!(again.by_id(&id).unwrap().architecture(), here);
    let refused = host.images.resolve_for(&name("both"), &s390x).unwrap_err();
    assert!(matches!(refused, Error::OtherPlatform { .. }), "{refused}");
    assert_eq!(refused.kind(), Kind::NotFound);

    let missing = host.images.pull(request(&name("alone"))).await.unwrap_err();
    assert_eq!(
        missing.to_string(),
        format!(
            "no matching manifest for {} in the manifest list entries: no match for platform in manifest: not found",
            Platform::host()
        )
    );
    let mut other = request(&format!("{}/app@{alone}", registry.address));
    other.platform = Some(s390x);
    let pull = host.images.pull(other).await.unwrap();
    pull.run(&quiet).await.unwrap();
    let image = host.images.resolve(alone.short()).unwrap();
    assert_eq!((image.architecture(), image.tags().len()), ("s390x", 0));

    for name in [name("both"), format!("{}/app@{alone}", registry.address)] {
        host.images.remove(&name, false, unused()).await.unwrap();
    }
    host.assert_settled().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn layers_found_unpacked_are_kept_or_unpacked_again() {
    let host = Host::start().await;
    let registry = TestRegistry::start(host.directory.path());
    let image = TestImage::new(100_000);
    registry.push("app", "1", &image);
    let (layers, _) = image.oci();
    let proxy = Proxy::start(registry.address, &Digest::of(&layers[1]), 50_000);
    let content = host.client.content();
    let snapshots = host.client.snapshots("overlayfs");

    // Only the lease of somebody else holds what was unpacked.
    let name = format!("{}/app:1", registry.address);
    let pull = host.images.pull(request(&name)).await.unwrap();
    let pulled = pull.run(&Progress::none()).await.unwrap();
    let chain = pulled.chain_id().unwrap().to_string();
    let leases = host.client.leases();
    let hour = Duration::from_secs(3600);
    leases.create("other", hour, &Labels::new()).await.unwrap();
    leases
        .protect_snapshot("other", "overlayfs", &chain)
        .await
        .unwrap();
    host.images.remove(&name, false, unused()).await.unwrap();
    while !content.list(None).await.unwrap().is_empty() {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    snapshots.stat(&chain).await.unwrap();

    // It ends when the snapshots have been seen, and a layer's second try is yet to come.
    let before = host.calls();
    let name = format!("{}/app:1", proxy.address);
    let pull = host.images.pull(request(&name)).await.unwrap();
    let (tx, mut rx) = tokio::sync::mpsc::channel(16);
    let run = async move { pull.run(&Progress::new(tx)).await };
    let mut ended = false;
    let end = async {
        while let Some(message) = rx.recv().await {
            if message.status.starts_with("Retrying in") {
                while !host.calls_since(&before).contains_key("Stat") {
                    tokio::time::sleep(Duration::from_millis(10)).await;
                }
                leases.delete("other", true).await.unwrap();
                ended = true;
            }
        }
    };
    let (pulled, ()) = tokio::join!(run, end);
    pulled.unwrap();
    assert!(ended, "the layer was broken off");
    host.assert_settled().await;
    snapshots.stat(&chain).await.unwrap();
}
