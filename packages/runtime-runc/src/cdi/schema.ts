// What a vendor's file says of its devices. @see CDI's SPEC.md, version 1.1.0
import { z } from 'zod'
import type { OciHooks } from '../spec/oci.ts'

/** A device node as its vendor describes it. */
export interface CdiNode {
  /** In the container. */
  path: string
  /** Default: `path`. */
  hostPath?: string
  type?: 'b' | 'c' | 'u' | 'p'
  major?: number
  minor?: number
  fileMode?: number
  /** Some of `rwm`, or `none`. Default: all. */
  permissions?: string
  uid?: number
  gid?: number
}

/** What a device changes in a container. */
export interface CdiEdits {
  env?: string[]
  deviceNodes?: CdiNode[]
  netDevices?: { hostInterfaceName: string; name: string }[]
  mounts?: { hostPath: string; containerPath: string; type?: string; options?: string[] }[]
  hooks?: { hookName: keyof OciHooks; path: string; args?: string[]; env?: string[]; timeout?: number }[]
  intelRdt?: Record<string, unknown>
  additionalGids?: number[]
}

/** One vendor's devices of one class. */
export interface CdiFile {
  cdiVersion: string
  kind: string
  annotations?: Record<string, string>
  devices: { name: string; annotations?: Record<string, string>; containerEdits: CdiEdits }[]
  containerEdits?: CdiEdits
}

const name = (extra: string): RegExp => new RegExp(`^[A-Za-z0-9]([-_.${extra}A-Za-z0-9]*[A-Za-z0-9])?$`)
const KIND = /^[A-Za-z]([-_.A-Za-z0-9]*[A-Za-z0-9])?\/[A-Za-z]([-_.A-Za-z0-9]*[A-Za-z0-9])?$/
const VERSIONS = ['0.3.0', '0.4.0', '0.5.0', '0.6.0', '0.7.0', '0.8.0', '1.0.0', '1.1.0']

const variable = z.string().regex(/^[^=]+=/, 'must be NAME=VALUE')
const path = z.string().min(1)
const id = z.int().min(0).max(0xffff_ffff)

const node: z.ZodType<CdiNode> = z.strictObject({
  path,
  hostPath: path.exactOptional(),
  type: z.enum(['b', 'c', 'u', 'p']).exactOptional(),
  major: z.int().min(0).exactOptional(),
  minor: z.int().min(0).exactOptional(),
  fileMode: z.int().min(0).exactOptional(),
  permissions: z
    .string()
    .regex(/^([rwm]*|none)$/, 'must be some of rwm, or none')
    .exactOptional(),
  uid: id.exactOptional(),
  gid: id.exactOptional(),
})

const mount = z.strictObject({
  hostPath: path,
  containerPath: path,
  type: z.string().exactOptional(),
  options: z.array(z.string()).exactOptional(),
})

const hook = z.strictObject({
  hookName: z.enum(['prestart', 'createRuntime', 'createContainer', 'startContainer', 'poststart', 'poststop']),
  path,
  args: z.array(z.string()).exactOptional(),
  env: z.array(variable).exactOptional(),
  timeout: z.int().exactOptional(),
})

const intelRdt = z.strictObject({
  closID: z
    .string()
    .max(4095)
    .refine((text) => text === '/' || !(/[/\n]/.test(text) || text === '.' || text === '..'), 'must be a file name')
    .exactOptional(),
  l3CacheSchema: z.string().exactOptional(),
  memBwSchema: z.string().exactOptional(),
  schemata: z.array(z.string()).exactOptional(),
  enableMonitoring: z.boolean().exactOptional(),
  enableCMT: z.boolean().exactOptional(),
  enableMBM: z.boolean().exactOptional(),
})

const edits: z.ZodType<CdiEdits> = z.strictObject({
  env: z.array(variable).exactOptional(),
  deviceNodes: z.array(node).exactOptional(),
  netDevices: z.array(z.strictObject({ hostInterfaceName: path, name: path })).exactOptional(),
  mounts: z.array(mount).exactOptional(),
  hooks: z.array(hook).exactOptional(),
  intelRdt: intelRdt.exactOptional(),
  additionalGids: z.array(id).exactOptional(),
})

const annotations = z.record(z.string(), z.string()).exactOptional()

const file: z.ZodType<CdiFile> = z.strictObject({
  cdiVersion: z
    .string()
    .transform((text) => text.replace(/^v/, ''))
    .pipe(z.enum(VERSIONS)),
  kind: z.string().regex(KIND, 'must be VENDOR/CLASS'),
  annotations,
  devices: z
    .array(z.strictObject({ name: z.string().regex(name(':')), annotations, containerEdits: edits }))
    .min(1, 'must have a device'),
  containerEdits: edits.exactOptional(),
})

/** @throws Error naming every wrong field */
export function parseCdiFile(content: unknown): CdiFile {
  const result = file.safeParse(content)
  if (result.success) return result.data
  const problems = result.error.issues.map(({ path: at, message }) => `${at.join('.') || 'the file'}: ${message}`)
  throw new Error(problems.join('; '))
}

/** Whether a name is `VENDOR/CLASS=DEVICE`. */
export function isQualified(text: string): boolean {
  const at = text.indexOf('=')
  return at > 0 && KIND.test(text.slice(0, at)) && name(':').test(text.slice(at + 1))
}
