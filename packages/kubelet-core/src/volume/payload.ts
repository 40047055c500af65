// The files of a volume: which bytes at which path, with which mode and owner. Pure.
import { posix } from 'node:path'
import type { ConfigMap, KeyToPath, Pod, Secret } from 'kubernetes-types/core/v1.d.ts'

/** One file to be written. */
export interface PayloadFile {
  data: Buffer
  /** Permission bits. */
  mode: number
  /** Owner; root when not given. */
  uid?: number
}

/** Relative path → file. */
export type Payload = ReadonlyMap<string, PayloadFile>

const longestPath = 4096

/** In its shortest form, as `./a//b` is `a/b`. @throws Error in upstream's words when the path would leave its volume */
export function cleanPath(path: string): string {
  const parts = path.split('/')
  if (path === '') throw new Error('invalid path: must not be empty: ""')
  if (path.startsWith('/')) throw new Error(`invalid path: must be relative path: ${path}`)
  if (path.length > longestPath)
    throw new Error(`invalid path: must be less than or equal to ${longestPath} characters`)
  if (parts.includes('..')) throw new Error(`invalid path: must not contain '..': ${path}`)
  if (path.startsWith('..')) throw new Error(`invalid path: must not start with '..': ${path}`)
  const clean = posix.normalize(path).replace(/\/$/, '')
  if (clean === '.' || clean.startsWith('..') || path.includes('\0')) {
    throw new Error(`invalid path: must name a file: ${JSON.stringify(path)}`)
  }
  return clean
}

/** The bytes of a ConfigMap by key. */
export function configMapData({ data = {}, binaryData = {} }: ConfigMap): Map<string, Buffer> {
  return new Map([...bytesOf(data, 'utf8'), ...bytesOf(binaryData, 'base64')])
}

/** The bytes of a Secret by key. */
export function secretData({ data = {} }: Secret): Map<string, Buffer> {
  return new Map(bytesOf(data, 'base64'))
}

function bytesOf(data: Readonly<Record<string, string>>, encoding: 'utf8' | 'base64'): [string, Buffer][] {
  return Object.entries(data).map(([key, value]) => [key, Buffer.from(value, encoding)])
}

/** Keys as files: all of them, or the chosen ones. @throws Error naming a chosen key that is not there */
export function keyFiles(
  kind: 'ConfigMap' | 'Secret',
  data: ReadonlyMap<string, Buffer>,
  { items, optional, defaultMode }: { items?: readonly KeyToPath[]; optional: boolean; defaultMode: number },
): Map<string, PayloadFile> {
  if (!items) return new Map([...data].map(([key, bytes]) => [key, { data: bytes, mode: defaultMode }]))
  const files = new Map<string, PayloadFile>()
  for (const { key, path, mode = defaultMode } of items) {
    const bytes = data.get(key)
    if (bytes) files.set(path, { data: bytes, mode })
    else if (!optional) {
      throw new Error(
        kind === 'Secret'
          ? `references non-existent secret key: ${key}`
          : `configmap references non-existent config key: ${key}`,
      )
    }
  }
  return files
}

/** The one user that all containers of the pod are set to run as; undefined when they differ or one does not say. */
export function commonUser({ spec }: Pod): number | undefined {
  const users = new Set(
    [...(spec?.initContainers ?? []), ...(spec?.containers ?? [])].map(
      ({ securityContext }) => securityContext?.runAsUser ?? spec?.securityContext?.runAsUser,
    ),
  )
  return users.size === 1 ? users.values().next().value : undefined
}
