// Which images were pulled with which credentials, on disk as the Go kubelet has it: `image_manager/pulling` and `/pulled`.
import { createHash } from 'node:crypto'
import { mkdir, readdir, rename, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { z } from 'zod'
import { readIfThere } from '../files.ts'

/** A Secret, and a print of what it held. */
export interface PullSecret {
  uid: string
  namespace: string
  name: string
  credentialHash: string
}

/** Who may use an image under one of its names. */
export interface PullAccess {
  /** Everybody on this node: it was pulled with the node's own credentials, or without any. */
  nodePodsAccessible?: boolean | undefined
  kubernetesSecrets?: PullSecret[] | undefined
}

/** @see ImagePulledRecord of kubelet.config.k8s.io */
export interface PulledRecord {
  imageRef: string
  lastUpdatedTime: string
  /** Name without tag and digest → who may use it. */
  credentialMapping: Record<string, PullAccess>
}

const apiVersion = 'kubelet.config.k8s.io/v1beta1'

const secret = z.object({ uid: z.string(), namespace: z.string(), name: z.string(), credentialHash: z.string() })
const access = z.object({
  nodePodsAccessible: z.boolean().optional(),
  kubernetesSecrets: z.array(secret).optional(),
})
const schema = z.object({
  kind: z.literal('ImagePulledRecord'),
  imageRef: z.string(),
  lastUpdatedTime: z.string(),
  credentialMapping: z.record(z.string(), access).default({}),
})
const intentSchema = z.object({ kind: z.literal('ImagePullIntent'), image: z.string() })

export interface PullRecords {
  /** `damaged`: there is one, and nobody knows what it said. */
  read(imageRef: string): Promise<PulledRecord | 'damaged' | undefined>
  write(record: PulledRecord): Promise<void>
  remove(imageRef: string): Promise<void>
  /** All that can be read. */
  list(): Promise<PulledRecord[]>
  /** A pull has begun; until {@link end} it may have ended in any way. */
  begin(image: string): Promise<void>
  end(image: string): Promise<void>
  /** Pulls of a kubelet before that were cut short. */
  begun(): Promise<string[]>
}

export function openPullRecords(rootDir: string): PullRecords {
  const [pulling, pulled] = ['pulling', 'pulled'].map((name) => join(rootDir, 'image_manager', name)) as [
    string,
    string,
  ]
  const fileOf = (text: string): string => `sha256-${createHash('sha256').update(text).digest('hex')}`
  const save = async (folder: string, name: string, content: object): Promise<void> => {
    await mkdir(folder, { recursive: true, mode: 0o700 })
    const path = join(folder, name)
    await writeFile(`${path}.tmp`, JSON.stringify(content), { mode: 0o600, flush: true })
    await rename(`${path}.tmp`, path)
  }
  const load = async <T>(path: string, form: z.ZodType<T>): Promise<T | 'damaged' | undefined> => {
    const text = await readIfThere(path)
    if (text === undefined) return undefined
    try {
      return form.parse(JSON.parse(text))
    } catch {
      return 'damaged' // a crash of the disk; who may use the image is not known
    }
  }
  const all = async <T>(folder: string, form: z.ZodType<T>): Promise<T[]> => {
    const names = await readdir(folder).catch((error: NodeJS.ErrnoException) => {
      if (error.code === 'ENOENT') return []
      throw error
    })
    const whole = names.filter((name) => /^sha256-[0-9a-f]{64}$/.test(name))
    const read = await Promise.all(whole.map(async (name) => load(join(folder, name), form)))
    return read.filter((one): one is Awaited<T> => one !== undefined && one !== 'damaged') as T[]
  }
  return {
    read: async (imageRef) => load(join(pulled, fileOf(imageRef)), schema),
    write: async (record) =>
      save(pulled, fileOf(record.imageRef), { kind: 'ImagePulledRecord', apiVersion, ...record }),
    remove: async (imageRef) => rm(join(pulled, fileOf(imageRef)), { force: true }),
    list: async () => all(pulled, schema),
    begin: async (image) => save(pulling, fileOf(image), { kind: 'ImagePullIntent', apiVersion, image }),
    end: async (image) => rm(join(pulling, fileOf(image)), { force: true }),
    begun: async () => (await all(pulling, intentSchema)).map(({ image }) => image),
  }
}
