// `dra_manager_state`: which claims pods use and what drivers prepared for them, as it survives the kubelet; the Go
// kubelet's file.
import { crc32 } from 'node:zlib'
import { z } from 'zod'
import { readStateFile, stateError, writeStateFile } from '../state-file/state-file.ts'
import type { ClaimDevice, ClaimInfo } from './state.ts'

const fileSchema = z.object({ Data: z.string(), Checksum: z.number() })

/** Go writes `null` for lists that are empty. */
const strings = z
  .array(z.string())
  .nullable()
  .transform((list) => list ?? [])

const device = z
  .object({
    PoolName: z.string(),
    DeviceName: z.string(),
    ShareID: z.string().nullish(),
    RequestNames: strings,
    CDIDeviceIDs: strings,
  })
  .transform(({ PoolName, DeviceName, ShareID, RequestNames, CDIDeviceIDs }): ClaimDevice => ({
    pool: PoolName,
    device: DeviceName,
    shareId: ShareID ?? undefined,
    requests: RequestNames,
    cdiIds: CDIDeviceIDs,
  }))

const claim = z
  .object({
    ClaimUID: z.string(),
    ClaimName: z.string(),
    Namespace: z.string(),
    PodUIDs: z.record(z.string(), z.object({})),
    DriverState: z.record(z.string(), z.object({ Devices: z.array(device).nullable() })),
  })
  .transform(({ ClaimUID, ClaimName, Namespace, PodUIDs, DriverState }): ClaimInfo => ({
    uid: ClaimUID,
    name: ClaimName,
    namespace: Namespace,
    podUids: new Set(Object.keys(PodUIDs)),
    drivers: new Map(Object.entries(DriverState).map(([driver, { Devices }]) => [driver, Devices ?? []])),
    prepared: false,
  }))

const [kind, apiVersion] = ['DRACheckpoint', 'checkpoint.dra.kubelet.k8s.io/v1']

const dataSchema = z.object({
  kind: z.literal(kind),
  apiVersion: z.literal(apiVersion),
  ClaimInfoStateList: z.array(claim).nullable(),
})

/** Empty when there is none. @throws Error naming the file that cannot be trusted, and what to do */
export async function readClaims(path: string): Promise<ClaimInfo[]> {
  const read = await readStateFile(path, fileSchema, ({ Data, Checksum }) => ({
    written: Checksum,
    computed: crc32(Data),
  }))
  if (!read) return []
  const { success, data, error } = dataSchema.safeParse(JSON.parse(read.Data))
  if (success) return data.ClaimInfoStateList ?? []
  const [issue] = error.issues
  throw stateError(path, `Data.${issue?.path.join('.')}: ${issue?.message}`)
}

export async function writeClaims(path: string, claims: readonly ClaimInfo[]): Promise<void> {
  const Data = JSON.stringify({
    kind,
    apiVersion,
    ClaimInfoStateList: claims.map(({ uid, name, namespace, podUids, drivers }) => ({
      ClaimUID: uid,
      ClaimName: name,
      Namespace: namespace,
      PodUIDs: Object.fromEntries([...podUids].map((podUid) => [podUid, {}])),
      DriverState: Object.fromEntries(
        [...drivers].map(([driver, devices]) => [
          driver,
          { Devices: devices.length > 0 ? devices.map(goDevice) : null },
        ]),
      ),
    })),
  })
  await writeStateFile(path, { Data, Checksum: crc32(Data) })
}

const goDevice = ({ pool, device: name, shareId, requests, cdiIds }: ClaimDevice): object => ({
  PoolName: pool,
  DeviceName: name,
  ShareID: shareId ?? null,
  RequestNames: requests.length > 0 ? requests : null,
  CDIDeviceIDs: cdiIds.length > 0 ? cdiIds : null,
})
