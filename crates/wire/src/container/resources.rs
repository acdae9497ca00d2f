//! Devices and limits.

use std::collections::BTreeMap;

use crate::object::object;

object! {
    /// The block I/O weight of a device.
    pub struct WeightDevice {
        /// The device's node on the host.
        path: String = "Path";
        /// 10 to 1000.
        weight: u16 = "Weight";
    }

    /// A block I/O limit of a device.
    pub struct ThrottleDevice {
        /// The device's node on the host.
        path: String = "Path";
        /// Bytes or operations a second.
        rate: u64 = "Rate";
    }

    /// A resource limit of a process.
    pub struct Ulimit {
        /// `nofile`, `nproc` …
        name: String = "Name";
        /// The limit that nothing may go above; -1 for none.
        hard: i64 = "Hard";
        /// The limit that holds; -1 for none.
        soft: i64 = "Soft";
    }

    /// A host device that a container sees.
    pub struct DeviceMapping {
        /// Its node on the host.
        path_on_host: String = "PathOnHost";
        /// Its node in the container.
        path_in_container: String = "PathInContainer";
        /// Of `r`, `w` and `m`.
        cgroup_permissions: String = "CgroupPermissions";
    }

    /// Devices that a driver is to find.
    pub struct DeviceRequest {
        /// The driver; empty for any that fits.
        driver: String = "Driver";
        /// How many; -1 for all.
        count: i64 = "Count";
        /// Which ones.
        device_ids: Vec<String> = "DeviceIDs" null;
        /// What they must be able to do: one of the lists, all of its words.
        capabilities: Vec<Vec<String>> = "Capabilities" null;
        /// Options of the driver.
        options: BTreeMap<String, String> = "Options" null;
    }
}
