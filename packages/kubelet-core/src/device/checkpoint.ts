// `kubelet_internal_checkpoint`: which devices are whose, as it survives the kubelet; the Go kubelet's file.
import { z } from 'zod'
import { goBytes, goChecksum, goList, goMap, goInt, goString, goStruct } from '../state-file/checksum.ts'
import { readStateFile, writeStateFile } from '../state-file/state-file.ts'

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

/** Go writes `null` for what is empty; both kinds of nothing have their own checksum. */
const orNothing = <T extends z.ZodType>(type: T) =>
  type
    .nullable()
    .optional()
    .transform((value) => value ?? undefined)

const schema = z.object({
  Data: z.object({
    PodDeviceEntries: orNothing(
      z.array(
        z.object({
          PodUID: z.string(),
          ContainerName: z.string(),
          ResourceName: z.string(),
          DeviceIDs: z.record(z.string().regex(/^-?\d+$/, 'is no NUMA node'), z.array(z.string())),
          AllocResp: z.string(),
        }),
      ),
    ),
    RegisteredDevices: orNothing(z.record(z.string(), orNothing(z.array(z.string())))),
  }),
  Checksum: z.number(),
})
type Data = z.infer<typeof schema>['Data']

const strings = goList(goString)
const goType = goStruct('checkpoint.checkpointData', {
  PodDeviceEntries: [
    goList(
      goStruct('checkpoint.PodDevicesEntry', {
        PodUID: [goString, 'PodUID'],
        ContainerName: [goString, 'ContainerName'],
        ResourceName: [goString, 'ResourceName'],
        DeviceIDs: [goMap(goInt, strings, 'checkpoint.DevicesPerNUMA'), 'DeviceIDs'],
        AllocResp: [goBytes, 'AllocResp'],
      }),
    ),
    'PodDeviceEntries',
  ],
  RegisteredDevices: [goMap(goString, strings), 'RegisteredDevices'],
})

/** Empty when there is none. @throws Error naming the file that cannot be trusted, and what to do */
export async function readDeviceCheckpoint(path: string): Promise<DeviceCheckpoint> {
  const read = await readStateFile(path, schema, ({ Data: data, Checksum: written }) => ({
    written,
    computed: goChecksum(goType, data),
  }))
  const { PodDeviceEntries: entries = [], RegisteredDevices: registered = {} } = read?.Data ?? {}
  const devices = Object.entries(registered).map(([name, ids]): [string, string[]] => [name, ids ?? []])
  return { PodDeviceEntries: entries, RegisteredDevices: Object.fromEntries(devices) }
}

export async function writeDeviceCheckpoint(
  path: string,
  { PodDeviceEntries, RegisteredDevices }: DeviceCheckpoint,
): Promise<void> {
  const entries = PodDeviceEntries.length > 0 ? PodDeviceEntries : undefined
  const data: Data = { PodDeviceEntries: entries, RegisteredDevices }
  await writeStateFile(path, {
    Data: { PodDeviceEntries: entries ?? null, RegisteredDevices },
    Checksum: goChecksum(goType, data),
  })
}
