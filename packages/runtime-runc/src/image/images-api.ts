// What a store of images does.
import type { AuthConfig, ImageService } from '@nodelet/cri-api'
import type { DiskUsage } from '../snapshot/disk-usage.ts'
import type { UnpackerOptions } from '../snapshot/unpacker.ts'
import type { RootfsView } from '../snapshot/overlay.ts'
import type { ExportOptions } from './export.ts'
import type { Progress } from './pull.ts'
import type { RegistriesOptions } from './puller.ts'
import type { ImageRecord } from './store.ts'

export interface ImagesOptions extends RegistriesOptions {
  /** Everything is kept below this folder, for instance `/var/lib/nodelet/images`. */
  root: string
  /** Blobs of one image that come at once; default 3. */
  maxParallelLayers?: number | undefined
  /** Blobs of all images together that come at once; default 12. */
  maxParallelDownloads?: number | undefined
  /**
   * Canonical names that are pinned, which says to kubelet's garbage collection: leave them. Exact, `prefix*` or
   * `*keyword*`; `*` is all. Default: none.
   */
  pinnedImages?: readonly string[] | undefined
  /** How layers are unpacked: threads, limits, how long one may stand still. */
  unpack?: UnpackerOptions | undefined
  /** Told of what went wrong where nobody waits, such as content that can't be removed. Default: nobody is. */
  onProblem?: ((error: Error) => void) | undefined
}

export interface PullOptions {
  auth?: AuthConfig | undefined
  signal?: AbortSignal | undefined
  onProgress?: ((progress: Progress) => void) | undefined
}

/** Images on this machine. Failures are CriErrors. */
export interface Images extends AsyncDisposable {
  /** Fetches by tag or digest. Callers that pull the same name at the same time share the work. */
  pull(reference: string, options?: PullOptions): Promise<ImageRecord>
  /**
   * Takes in all images of an OCI layout (a folder, or a tar of one) or of what `docker save` writes. `reference` names
   * the only image of an archive.
   */
  importArchive(
    path: string,
    options?: Omit<PullOptions, 'auth'> & { reference?: string | undefined },
  ): Promise<ImageRecord[]>
  /**
   * Writes images to a tar, by temporary file and rename: an OCI layout, or what `docker load` reads.
   * @throws CriError NOT_FOUND when an image or one of its blobs is not here
   */
  exportArchive(references: readonly string[], path: string, options?: ExportOptions): Promise<void>
  /** By name, digest or ID; an ID may be cut short. */
  resolve(referenceOrId: string): ImageRecord | undefined
  list(): ImageRecord[]
  /** IDs of the images that containers and image volumes are made of, also of those that were removed since. */
  used(): ReadonlySet<string>
  /** Removes an image with all its names. Fine when there is none. Layers that containers use stay until they are released. */
  remove(referenceOrId: string): Promise<void>
  /**
   * Mounts a writable file system of an image for a container; safe to run again. Answers its path. With a user namespace
   * its files belong to that one's ids, for which Linux 5.19 is needed and a disk that can be id-mapped.
   */
  prepareRootfs(key: string, imageId: string, shown?: RootfsView): Promise<string>
  /** Mounts an image read-only for an owner, such as a pod, whose parts share it. Answers its path. */
  prepareView(owner: string, imageId: string, shown?: RootfsView): Promise<string>
  /** Unmounts all of an owner. Fine when there is none. */
  releaseViews(owner: string): Promise<void>
  /** Unmounts it and removes what was written. Fine when there is none. */
  releaseRootfs(key: string): Promise<void>
  /** Where it is; after a reboot it is mounted again by `prepareRootfs`. */
  rootfsPath(key: string): string | undefined
  /** The files of all layers and of what containers wrote, the latter as last measured. */
  usage(): Promise<{ bytes: number; inodes: number }>
  /** By key of a container's file system: what was written to it. Measured in the background, see `DiskUsageMeter`. */
  rootfsUsage(keys: readonly string[]): Promise<ReadonlyMap<string, DiskUsage>>
  /** Where the layers are. */
  readonly root: string
  /** The same as CRI calls. */
  readonly imageService: ImageService
}
