// Volumes as pods want them.

/** Names a Secret. */
export interface SecretRef {
  readonly namespace: string
  readonly name: string
}

/** A volume: that of a PersistentVolume with a source of kind csi, or one inline in a pod. */
export interface CsiVolume {
  readonly driver: string
  /** Of an inline volume see `inlineHandle`. */
  readonly volumeHandle: string
  /** Name of the PersistentVolume, or of the pod's volume. */
  readonly specName: string
  readonly lifecycle: 'Persistent' | 'Ephemeral'
  readonly volumeMode: 'Filesystem' | 'Block'
  /** Default: the driver's choice. */
  readonly fsType?: string | undefined
  /** Of the PersistentVolume; the first is told the driver. */
  readonly accessModes: readonly string[]
  /** In the order in which the driver is given them. */
  readonly mountOptions?: readonly string[] | undefined
  readonly readOnly?: boolean | undefined
  /** SELinux label that all files are to have, by an option of mount. */
  readonly seLinuxLabel?: string | undefined
  readonly attributes?: Readonly<Record<string, string>> | undefined
  readonly stageSecret?: SecretRef | undefined
  readonly publishSecret?: SecretRef | undefined
  readonly expandSecret?: SecretRef | undefined
  /** It was one of a cloud provider's, which Kubernetes once had a plugin for: calls for it are counted so. Default: false. */
  readonly migrated?: boolean | undefined
}

/** A pod that has volumes. */
export interface CsiPod {
  readonly uid: string
  readonly name: string
  readonly namespace: string
  readonly serviceAccountName: string
  readonly fsGroup?: number | undefined
  /** `Always` or `OnRootMismatch`. */
  readonly fsGroupChangePolicy?: string | undefined
}

/** A token that a driver asks for. */
export interface TokenWish {
  /** Empty: the API server's own. */
  readonly audience: string
  readonly expirationSeconds?: number | undefined
}

/** `spec` of a CSIDriver object, as far as nodes go by it. */
export interface DriverSettings {
  readonly podInfoOnMount?: boolean | undefined
  readonly volumeLifecycleModes?: readonly string[] | undefined
  /** `ReadWriteOnceWithFSType`, `File` or `None`. */
  readonly fsGroupPolicy?: string | undefined
  readonly tokenRequests?: readonly TokenWish[] | undefined
  readonly requiresRepublish?: boolean | undefined
  /** Its volumes take the mount option `context`. */
  readonly seLinuxMount?: boolean | undefined
  readonly serviceAccountTokenInSecrets?: boolean | undefined
}

/** What only the API server has, read when it is needed and not kept. */
export interface CsiObjects {
  /** The data of a Secret as text. @throws Error when there is none, or no answer */
  secret(ref: SecretRef, signal: AbortSignal): Promise<Readonly<Record<string, string>>>
  /** A token of the pod's service account, bound to the pod. */
  token(pod: CsiPod, wish: TokenWish, signal: AbortSignal): Promise<{ token: string; expirationTimestamp: string }>
}

export interface SetUpOptions {
  /** Undefined: there is no such object, and defaults hold. */
  readonly settings?: DriverSettings | undefined
  /** `attachmentMetadata` of the VolumeAttachment. */
  readonly publishContext?: Readonly<Record<string, string>> | undefined
}
