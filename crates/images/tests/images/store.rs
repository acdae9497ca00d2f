//! Load, import, save, tag, remove and what is shown.

use std::sync::Arc;

use crate::host::{Host, Messages, TestImage, body, gzip, noise, tar};
use crate::unused;
use berth_ctrd::Labels;
use berth_errdefs::{Classify, Kind};
use berth_images::{Error, Filters, Import, InUse, Progress, Usage};
use berth_reference::{Digest, Reference};
use futures::StreamExt;

async fn load(host: &Host, data: Vec<u8>) -> (Result<usize, Error>, Vec<String>) {
    let (progress, messages) = Messages::new();
    let loaded = host
        .images
        .load(body(data), &[], &progress)
        .await
        .map(|images| images.len());
    drop(progress);
    (loaded, messages.texts().await)
}

#[tokio::test(flavor = "multi_thread")]
async fn archives_load_and_images_go_without_a_trace() {
    let host = Host::start().await;
    let image = TestImage::new(300_000);
    let zstd = zstd::encode_all(&image.oci_layout("docker.io/test/oci:2")[..], 1).unwrap();
    for (data, name) in [
        (image.docker_archive("test/app:1"), "test/app:1"),
        (gzip(&image.docker_archive("test/app:gz")), "test/app:gz"),
        (zstd, "test/oci:2"),
    ] {
        let (loaded, texts) = load(&host, data).await;
        assert_eq!(loaded.unwrap(), 1);
        assert_eq!(texts.last().unwrap(), &format!("Loaded image: {name}\n"));
        let image = host.images.resolve(name).unwrap();
        assert_eq!(image.config().labels["made"], "here");
        assert_eq!(image.comment(), "the last");
        assert!(image.size() > 300_000);
        let chain = image.chain_id().unwrap().to_string();
        host.client
            .snapshots("overlayfs")
            .stat(&chain)
            .await
            .unwrap();
    }
    assert_eq!(host.images.count(), 2, "both Docker archives are one image");
    let sizes: Vec<i64> = host
        .images
        .resolve("test/app:1")
        .unwrap()
        .steps()
        .iter()
        .map(|h| h.size)
        .collect();
    assert_eq!(sizes.len(), 3);
    assert!(
        sizes[0] > 300_000 && sizes[1] == 0 && sizes[2] > 300_000,
        "{sizes:?}"
    );
    host.assert_settled().await;

    let before = host.calls();
    host.images.list(&Filters::new(), true).unwrap();
    host.images.resolve("test/app:1").unwrap().inspect();
    assert_eq!(
        host.calls_since(&before).values().sum::<u64>(),
        0,
        "reads make no RPC"
    );

    let reopened = host.reopened().await;
    let id = host.images.resolve("test/app:1").unwrap().id().clone();
    assert_eq!(
        reopened.by_id(&id).unwrap().tags(),
        ["test/app:1", "test/app:gz"]
    );
    assert_eq!(
        reopened.by_id(&id).unwrap().size(),
        host.images.by_id(&id).unwrap().size()
    );

    for name in ["test/app:1", "test/app:gz", "test/oci:2"] {
        let removed = host.images.remove(name, false, unused()).await.unwrap();
        assert_eq!(removed[0].untagged, name);
    }
    assert_eq!(host.images.count(), 0);
    host.assert_settled().await;
    assert_eq!(
        host.actions(),
        [
            "load", "load", "load", "untag", "untag", "delete", "untag", "delete"
        ]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn garbage_and_hostile_archives_fail_and_leave_nothing() {
    let host = Host::start().await;
    let image = TestImage::new(1000);
    let other = format!("blobs/sha256/{}", Digest::of(b"other").encoded());
    let wrong_layer = TestImage {
        layers: vec![tar(&[("x", b"y")]); 2],
        config: image.config.clone(),
    };
    let truncated = image.docker_archive("x")[..400_000].to_vec();
    for (data, message) in [
        (noise(2000), "invalid tar header"),
        (Vec::new(), "unrecognized image format"),
        (tar(&[("a", b"b")]), "unrecognized image format"),
        (tar(&[("oci-layout", b"{}")]), "missing index.json"),
        (tar(&[("manifest.json", b"{")]), "invalid manifest.json"),
        (
            tar(&[("manifest.json", br#"[{"Config":"../x"}]"#)]),
            "leads out of it",
        ),
        (
            tar(&[("manifest.json", br#"[{"Config":"x"}]"#)]),
            "there is no file",
        ),
        (tar(&[(&other, b"not it")]), "has the digest"),
        (wrong_layer.docker_archive("x"), "wrong diff id"),
        (truncated, "invalid archive"),
    ] {
        let (loaded, _) = load(&host, data).await;
        let error = loaded.unwrap_err().to_string();
        assert!(error.contains(message), "{error}");
    }
    assert_eq!(host.images.count(), 0);
    host.assert_settled().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn imported_images_are_named_renamed_and_pruned() {
    let host = Host::start().await;
    let images = &host.images;
    let root = tar(&[("bin/true", b"x")]);
    let import = |name: &str, changes: &[&str]| Import {
        reference: (!name.is_empty()).then(|| Reference::parse(name).unwrap()),
        changes: changes.iter().map(|c| (*c).to_owned()).collect(),
        message: "Imported from -".to_owned(),
        platform: None,
    };
    let first = images
        .import(body(root.clone()), import("n:1", &["LABEL a=b"]))
        .await
        .unwrap();
    let image = images.resolve("n:1").unwrap();
    assert_eq!((image.id(), image.comment()), (&first, "Imported from -"));
    let zipped = images
        .import(body(gzip(&root)), import("", &["LABEL p=q"]))
        .await
        .unwrap();
    assert_eq!(images.by_id(&zipped).unwrap().diff_ids(), image.diff_ids());
    assert!(images.by_id(&zipped).unwrap().is_dangling());
    let bad = images
        .import(body(root.clone()), import("", &["RUN x"]))
        .await
        .unwrap_err();
    assert_eq!(bad.kind(), Kind::InvalidArgument);

    // The name moves on; the image that had it stays without one.
    images
        .import(body(root), import("n:1", &["LABEL c=d"]))
        .await
        .unwrap();
    assert!(images.by_id(&first).unwrap().is_dangling());
    let filters = Filters::from([("label".to_owned(), vec!["p=q".to_owned()])]);
    let (pruned, _) = images.prune(false, &filters, unused()).await.unwrap();
    assert_eq!(pruned.len(), 1);
    assert_eq!(pruned[0].deleted, zipped.to_string());
    images
        .tag(first.as_str(), &Reference::parse("kept").unwrap())
        .await
        .unwrap();
    let (pruned, _) = images
        .prune(false, &Filters::new(), unused())
        .await
        .unwrap();
    assert_eq!(pruned, []);
    images.remove("n:1", false, unused()).await.unwrap();
    images.remove("kept", false, unused()).await.unwrap();
    host.assert_settled().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn images_in_use_stay_in_dockers_words() {
    let host = Host::start().await;
    let images = &host.images;
    let import = Import {
        reference: Some(Reference::parse("n:1").unwrap()),
        ..Import::default()
    };
    let root = tar(&[("bin/true", b"x")]);
    images.import(body(root), import).await.unwrap();
    let stopped: InUse = Arc::new(|_| Usage {
        stopped: Some("c".repeat(64)),
        ..Usage::default()
    });
    let running: InUse = Arc::new(|_| Usage {
        running: Some("c".repeat(64)),
        ..Usage::default()
    });
    let id = images.resolve("n:1").unwrap().id().clone();
    let message = |e: Error| e.to_string();
    assert_eq!(
        message(
            images
                .remove("n:1", false, stopped.clone())
                .await
                .unwrap_err()
        ),
        format!(
            "conflict: unable to delete n:1 (must be forced) - container cccccccccccc is using its referenced image {}",
            id.short()
        )
    );
    assert_eq!(
        message(
            images
                .remove(id.as_str(), true, running.clone())
                .await
                .unwrap_err()
        ),
        format!(
            "conflict: unable to delete {} (cannot be forced) - image is being used by running container cccccccccccc",
            id.short()
        )
    );
    assert_eq!(
        message(
            images
                .remove("nosuch:1", false, unused())
                .await
                .unwrap_err()
        ),
        "No such image: nosuch:1"
    );
    images
        .tag("n:1", &Reference::parse("n:2").unwrap())
        .await
        .unwrap();
    let untagged = images.remove("n:1", false, running.clone()).await.unwrap();
    assert_eq!((untagged.len(), untagged[0].untagged.as_str()), (1, "n:1"));
    images.remove("n:2", true, stopped.clone()).await.unwrap();
    assert!(
        images.by_id(&id).unwrap().is_dangling(),
        "its container needs it"
    );
    images.remove(id.as_str(), false, unused()).await.unwrap();
    host.assert_settled().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn saved_images_load_as_they_were() {
    let host = Host::start().await;
    load(
        &host,
        TestImage::new(200_000).oci_layout("docker.io/library/s:1"),
    )
    .await
    .0
    .unwrap();
    let id = host.images.resolve("s:1").unwrap().id().clone();
    host.images
        .tag("s:1", &Reference::parse("s:2").unwrap())
        .await
        .unwrap();
    let names = ["s:1".to_owned(), "s:2".to_owned()];
    assert!(host.images.save(&["nosuch".to_owned()], &[]).await.is_err());
    let parts: Vec<_> = host
        .images
        .save(&names, &[])
        .await
        .unwrap()
        .map(|p| p.unwrap())
        .collect()
        .await;
    for name in &names {
        host.images.remove(name, false, unused()).await.unwrap();
    }
    host.assert_settled().await;
    let (loaded, texts) = load(&host, parts.concat()).await;
    assert_eq!(loaded.unwrap(), 1);
    assert!(texts.ends_with(&[
        "Loaded image: s:1\n".to_owned(),
        "Loaded image: s:2\n".to_owned()
    ]));
    assert_eq!(host.images.resolve("s:2").unwrap().id(), &id);
}

async fn remove_layers(host: &Host, mut key: String) {
    let snapshots = host.client.snapshots("overlayfs");
    while !key.is_empty() {
        // Once the one above is gone, containerd's own collector may be faster.
        let gone = |error: berth_ctrd::Error| assert!(error.is_not_found(), "{error}");
        let parent = match snapshots.stat(&key).await {
            Ok(found) => found.parent,
            Err(error) => return gone(error),
        };
        snapshots.remove(&key).await.unwrap_or_else(gone);
        key = parent;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_snapshot_that_is_gone_is_made_again() {
    let host = Host::start().await;
    load(
        &host,
        TestImage::new(1000).oci_layout("docker.io/library/s:1"),
    )
    .await
    .0
    .unwrap();
    let image = host.images.resolve("s:1").unwrap();
    host.assert_settled().await;
    let before = host.calls();
    host.images.ensure_unpacked(&image).await.unwrap();
    assert_eq!(
        host.calls_since(&before).values().sum::<u64>(),
        0,
        "nothing is asked again"
    );

    // Somebody else cleaned up.
    let snapshots = host.client.snapshots("overlayfs");
    remove_layers(&host, image.chain_id().unwrap().to_string()).await;
    host.images.unpack(&image).await.unwrap();
    snapshots
        .stat(image.chain_id().unwrap().as_str())
        .await
        .unwrap();

    // Seen at start: the image is there but not unpacked.
    remove_layers(&host, image.chain_id().unwrap().to_string()).await;
    let reopened = host.reopened().await;
    let image = reopened.resolve("s:1").unwrap();
    reopened.ensure_unpacked(&image).await.unwrap();
    snapshots
        .stat(image.chain_id().unwrap().as_str())
        .await
        .unwrap();
    let sizes = reopened.resolve("s:1").unwrap().steps();
    assert!(sizes[2].size > 300_000, "{sizes:?}");
    host.assert_settled().await;
    snapshots
        .stat(image.chain_id().unwrap().as_str())
        .await
        .unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_hangs_up_leaves_nothing() {
    let host = Host::start().await;
    let archive = TestImage::new(1000).docker_archive("x");
    let (sent, on_its_way) = tokio::sync::oneshot::channel();
    let half = futures::stream::once(async move {
        Ok(bytes::Bytes::copy_from_slice(&archive[..archive.len() / 2]))
    });
    let end = futures::stream::once(async move {
        let _ = sent.send(());
        std::future::pending::<std::io::Result<bytes::Bytes>>().await
    });
    let quiet = Progress::none();
    tokio::select! {
        _ = host.images.load(Box::pin(half.chain(end)), &[], &quiet) => panic!("it has no end"),
        _ = on_its_way => {}
    }
    host.assert_settled().await;
    assert_eq!(host.images.count(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_shown_is_what_docker_shows() {
    let host = Host::start().await;
    load(
        &host,
        TestImage::new(1000).oci_layout("docker.io/library/s:1"),
    )
    .await
    .0
    .unwrap();
    let image = host.images.resolve("s:1").unwrap();
    let shown = host.images.resolve("s").unwrap_err();
    assert_eq!(shown.to_string(), "No such image: s:latest");
    let shown = serde_json::to_value(host.images.resolve("s:1").unwrap().inspect()).unwrap();
    assert_eq!(shown["Id"], image.id().as_str());
    assert_eq!(shown["RepoTags"], serde_json::json!(["s:1"]));
    assert_eq!(
        shown["RepoDigests"],
        serde_json::json!([format!("s@{}", image.id())])
    );
    assert_eq!(shown["Created"], "2020-02-03T04:05:06Z");
    assert_eq!(
        shown["Config"]["Cmd"],
        serde_json::json!(["/bin/busybox", "sh"])
    );
    assert_eq!(shown["RootFS"]["Type"], "layers");
    assert_eq!(shown["RootFS"]["Layers"].as_array().unwrap().len(), 2);
    assert_eq!(shown["Descriptor"]["digest"], image.id().as_str());
    assert_eq!(shown["Comment"], "the last");
    let list = host.images.list(&Filters::new(), false).unwrap();
    let list = serde_json::to_value(list).unwrap();
    assert_eq!(list[0]["Id"], image.id().as_str());
    assert_eq!(list[0]["Created"], 1_580_702_706);
    assert_eq!(list[0]["Labels"]["made"], "here");
    for (filter, value, fits) in [
        ("reference", "s", true),
        ("reference", "t*", false),
        ("label", "made=here", true),
        ("label", "made=there", false),
        ("dangling", "true", false),
        ("dangling", "false", true),
        ("until", "2020-01-01T00:00:00Z", false),
        ("until", "1h", true),
        ("before", "s:1", false),
        ("since", "s:1", false),
    ] {
        let filters = Filters::from([(filter.to_owned(), vec![value.to_owned()])]);
        let found = host.images.list(&filters, false).unwrap().len();
        assert_eq!(found == 1, fits, "{filter}={value}");
    }
    let odd = Filters::from([("odd".to_owned(), vec!["x".to_owned()])]);
    assert_eq!(
        host.images.list(&odd, false).unwrap_err().to_string(),
        "invalid filter 'odd'"
    );
}

/// Blobs that only the lease of a load broken off holds are taken over, not lost with it.
#[tokio::test(flavor = "multi_thread")]
async fn a_load_keeps_what_another_left_and_containerd_collects() {
    let host = Host::start().await;
    let image = TestImage::new(1000);
    let leases = host.client.leases();
    let hour = std::time::Duration::from_secs(3600);
    leases
        .create("broken-off", hour, &Labels::new())
        .await
        .unwrap();
    let left = host.client.with_lease("broken-off").content();
    for blob in [&image.layers[0], &image.layers[1], &image.config] {
        let digest = Digest::of(blob).to_string();
        let data = bytes::Bytes::copy_from_slice(blob);
        left.put(&digest, &digest, data, &Labels::new())
            .await
            .unwrap();
    }
    // So much behind the layers that they are through when the last chunk is asked for.
    let mut archive = image.docker_archive("again:1");
    archive.truncate(archive.len() - 1024);
    let padding = vec![b'x'; 60_000];
    let names: Vec<String> = (0..40).map(|n| format!("padding/{n}")).collect();
    let files: Vec<(&str, &[u8])> = names.iter().map(|n| (&n[..], &padding[..])).collect();
    archive.extend(tar(&files));
    let end = archive.split_off(archive.len() - 1024);
    let lease = leases.clone();
    let end = futures::stream::once(async move {
        lease.delete("broken-off", true).await.unwrap();
        Ok(bytes::Bytes::from(end))
    });
    let input = Box::pin(body(archive).chain(end));
    let loaded = host
        .images
        .load(input, &[], &Progress::none())
        .await
        .unwrap();
    assert_eq!(loaded.len(), 1);
    host.assert_settled().await;
    for blob in [&image.layers[0], &image.layers[1], &image.config] {
        let digest = Digest::of(blob).to_string();
        host.client.content().info(&digest).await.unwrap();
    }
}
