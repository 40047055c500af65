// `kubelet_internal_checkpoint`: which devices are whose, as it survives the kubelet.
import { createHash } from 'node:crypto'
import { open, readFile, rename } from 'node:fs/promises'
import { z } from 'zod'

/** One container's devices of one resource, and what the plugin answered when they were given out. */
export interface DeviceEntry {
  PodUID: string
  ContainerName: string
  ResourceName: string
  /** NUMA node → devices; -1: without one. */
  DeviceIDs: Record<string, string[]>
  /** ContainerAllocateResponse in base64. */
  AllocResp: string
}

export interface DeviceCheckpoint {
  PodDeviceEntries: DeviceEntry[]
  RegisteredDevices: Record<string, string[]>
}

const schema = z.object({
  Data: z.object({
    PodDeviceEntries: z
      .array(
        z.object({
          PodUID: z.string(),
          ContainerName: z.string(),
          ResourceName: z.string(),
          DeviceIDs: z.record(z.string(), z.array(z.string())),
          AllocResp: z.string(),
        }),
      )
      .nullable()
      .transform((entries) => entries ?? []),
    RegisteredDevices: z
      .record(z.string(), z.array(z.string()).nullable())
      .nullable()
      .transform((all) => Object.fromEntries(Object.entries(all ?? {}).map(([name, ids]) => [name, ids ?? []]))),
  }),
  Checksum: z.number(),
})

/** 32 bits over the content. */
const checksumOf = (data: DeviceCheckpoint): number =>
  createHash('sha256').update(JSON.stringify(data)).digest().readUInt32BE(0)

/** Empty when there is none. @throws Error naming the file that cannot be trusted, and what to do */
export async function readDeviceCheckpoint(path: string): Promise<DeviceCheckpoint> {
  let text: string
  try {
    text = await readFile(path, 'utf8')
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return { PodDeviceEntries: [], RegisteredDevices: {} }
    throw error
  }
  const wrong = (why: string): Error =>
    new Error(`${path}: ${why}: drain this node, remove the file and start the kubelet again`)
  let parsed: unknown
  try {
    parsed = JSON.parse(text)
  } catch (cause) {
    throw wrong(`is not JSON (${(cause as Error).message})`)
  }
  const result = schema.safeParse(parsed)
  if (!result.success) throw wrong(`${result.error.issues[0]?.path.join('.')}: ${result.error.issues[0]?.message}`)
  const { Data, Checksum } = result.data
  if (checksumOf(Data) !== Checksum) throw wrong('its checksum does not fit its content')
  return Data
}

/** Survives a crash whole or not at all. */
export async function writeDeviceCheckpoint(path: string, data: DeviceCheckpoint): Promise<void> {
  const temporary = `${path}.tmp`
  {
    await using file = await open(temporary, 'w', 0o600)
    await file.writeFile(JSON.stringify({ Data: data, Checksum: checksumOf(data) }))
    await file.sync()
  }
  await rename(temporary, path)
}
