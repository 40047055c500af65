// Static pods from the manifests of a folder.
import { type FSWatcher, watch } from 'node:fs'
import { mkdir, readdir, readFile, stat } from 'node:fs/promises'
import { join } from 'node:path'
import type { Pod } from 'kubernetes-types/core/v1.d.ts'
import { type Clock, systemClock } from '../clock.ts'
import { type Logger, silentLogger } from '../log.ts'
import { seenAnnotation } from '../pod/labels.ts'
import { documentsOf } from './documents.ts'
import { ManifestError } from './manifest-error.ts'
import { staticPodOf } from './manifest.ts'
import { fullName } from './merge.ts'
import type { PodSource } from './source.ts'

export interface ManifestsOptions {
  /** Or one file. */
  folder: string
  nodeName: string
  /** How often the folder is read whatever happens, in milliseconds; default 20 s. */
  checkMs?: number
  /** Told of a pod that another one's name keeps from running. */
  duplicate?(pod: Pod): void
  clock?: Clock
  log?: Logger
}

const maxBytes = 10 * 1024 * 1024
/** Editors write in several steps: one read for all of them. */
const settleMs = 20

/** A folder of manifests, JSON or YAML, a pod per document. A broken one is told to the log and leaves the others alone. */
export function manifestsSource(options: ManifestsOptions): PodSource {
  const { folder, nodeName, checkMs = 20_000, clock = systemClock, log = silentLogger } = options
  const seen = new Map<string, string>()
  const complaints = new Map<string, string>()
  /** Place → fields that nobody knows, as they were told. */
  const strangers = new Map<string, string>()
  let watcher: FSWatcher | undefined
  let cancel: (() => void) | undefined
  let last: string | undefined
  let reading: Promise<void> | undefined
  let again = false
  let closed = false

  const complain = (path: string, message: string): void => {
    if (complaints.get(path) === message) return
    complaints.set(path, message)
    log.error({ file: path }, `manifest ${path}: ${message}; it is skipped`)
  }

  const ignore = (place: string, fields: readonly string[]): void => {
    const names = fields.join(', ')
    if (strangers.get(place) === names) return
    strangers.set(place, names)
    log.warn({ file: place, fields }, `manifest ${place}: fields that the API does not know are left out: ${names}`)
  }

  const readOne = async (path: string): Promise<Pod[]> => {
    try {
      const { size } = await stat(path)
      if (size > maxBytes) throw new ManifestError(`${size} bytes: a manifest may have 10 MiB`)
      const documents = documentsOf(await readFile(path, 'utf8'))
      const pods = documents.flatMap((document, index) => {
        const place = documents.length > 1 ? `${path} document ${index + 1}` : path
        return decoded(document, path, place)
      })
      complaints.delete(path)
      return pods
    } catch (error) {
      // Gone between list and look: the ordinary way of files.
      if ((error as NodeJS.ErrnoException).code !== 'ENOENT') complain(path, (error as Error).message)
      return []
    }
  }

  /** One broken document leaves the others of its file alone; a file with one is broken itself. */
  const decoded = (document: unknown, path: string, place: string): Pod[] => {
    try {
      const ignored = (fields: readonly string[]): void => ignore(place, fields)
      const pod = staticPodOf(document, { nodeName, origin: { path }, seenMs: clock.now(), ignored })
      complaints.delete(place)
      return [pod]
    } catch (error) {
      if (!(error instanceof ManifestError) || place === path) throw error
      complain(place, error.message)
      return []
    }
  }

  const pathsOf = async (): Promise<string[]> => {
    const found = await stat(folder).catch((error: NodeJS.ErrnoException) => {
      if (error.code !== 'ENOENT') throw error
      return undefined // it was removed, and all manifests with it
    })
    if (!found) return []
    if (found.isFile()) return [folder]
    const entries = await readdir(folder, { withFileTypes: true })
    const names = entries.filter((entry) => !entry.isDirectory() && !entry.name.startsWith('.')).map(({ name }) => name)
    return names.toSorted().map((name) => join(folder, name))
  }

  const readAll = async (): Promise<Pod[]> => {
    const pods = new Map<string, Pod>()
    for (const path of await pathsOf()) {
      for (const pod of await readOne(path)) {
        const key = fullName(pod)
        if (!pods.has(key)) {
          pods.set(key, keepSeen(pod))
          continue
        }
        if (!complaints.has(`${path} ${key}`)) options.duplicate?.(pod)
        complain(`${path} ${key}`, `metadata.name: another manifest has the pod ${key}`)
      }
    }
    return [...pods.values()]
  }

  /** The time of the first sight stays. */
  const keepSeen = (pod: Pod): Pod => {
    const uid = pod.metadata?.uid ?? ''
    const annotations = pod.metadata?.annotations ?? {}
    const first = seen.get(uid) ?? annotations[seenAnnotation] ?? ''
    seen.set(uid, first)
    return { ...pod, metadata: { ...pod.metadata, annotations: { ...annotations, [seenAnnotation]: first } } }
  }

  return {
    name: 'file',
    async start(changed) {
      const isFile = await stat(folder).then(
        (found) => found.isFile(),
        () => false,
      ) // what is not there becomes a folder
      if (!isFile) await mkdir(folder, { recursive: true })
      const read = async (): Promise<void> => {
        do {
          again = false
          try {
            const pods = await readAll()
            const text = JSON.stringify(pods)
            if (text === last || closed) continue
            last = text
            changed(pods)
          } catch (error) {
            log.error({ err: error, folder }, 'the manifests folder cannot be read; its pods stay as they are')
          }
        } while (again && !closed)
        cancel?.()
        cancel = clock.after(checkMs, request)
      }
      const request = (): void => {
        if (closed) return
        again = true
        reading ??= read().finally(() => (reading = undefined))
      }
      watcher = watch(folder, () => {
        cancel?.()
        cancel = clock.after(settleMs, request)
      })
      watcher.on('error', (error) =>
        log.warn({ err: error, folder }, 'the folder is watched no more; it is read every 20 s'),
      )
      request()
      await reading
    },
    async close() {
      closed = true
      cancel?.()
      watcher?.close()
      await reading
      cancel?.()
    },
  }
}
