// A DRA driver of one's own: claims in, devices out; registration and both versions of the protocol are seen to.
import { join } from 'node:path'
import { Server } from '@grpc/grpc-js'
import { listenOn, serveRegistration } from '@nodelet/csi-node/registration'
import { type DRAPluginServer, NodePrepareResourcesResponse, NodeUnprepareResourcesResponse } from '../gen/dra.ts'
import { answered } from '../grpc-call.ts'
import { createTurns } from '../serial.ts'
import { draService, draServices, draVersions } from './service.ts'
import type { ClaimDevice, ClaimRef } from './state.ts'

export interface DraPluginOptions {
  /** As ResourceSlices have it: a DNS name of at most 63 characters, for instance `clock.example.com`. */
  driverName: string
  /** The kubelet's folder; default `/var/lib/kubelet`. */
  rootDir?: string
  /**
   * Called before the first pod of a claim starts: what the claim was given, `status.allocation` says. Called again after
   * a failure, a restart of the kubelet or of the machine: it must then answer the same.
   */
  prepare(claim: ClaimRef): Promise<readonly PreparedDevice[]> | readonly PreparedDevice[]
  /** Called when the last pod of a claim has ended; again after a failure, and for claims that are not prepared. */
  unprepare(claim: ClaimRef): Promise<void> | void
  /** Told when a kubelet refuses the driver. */
  onError?(error: Error): void
}

/** A device, and the requests of the claim that it serves; default: all. */
export type PreparedDevice = Pick<ClaimDevice, 'pool' | 'device' | 'shareId'> &
  Partial<Pick<ClaimDevice, 'requests' | 'cdiIds'>>

/**
 * Serves a driver; a kubelet finds it now, and each time that one starts anew.
 * @example
 * await using driver = await serveDraPlugin({
 *   driverName: 'clock.example.com',
 *   prepare: async (claim) => [{ pool: 'node-1', device: 'east', cdiIds: [await writeCdiFile(claim)] }],
 *   unprepare: async (claim) => removeCdiFile(claim),
 * })
 */
export async function serveDraPlugin(options: DraPluginOptions): Promise<AsyncDisposable> {
  const { driverName, rootDir = '/var/lib/kubelet', onError = () => undefined } = options
  const endpoint = join(rootDir, 'plugins', driverName, 'dra.sock')
  const turns = createTurns()
  const eachOf = async <T>(claims: readonly ClaimRef[], answer: (claim: ClaimRef) => Promise<T>) =>
    Object.fromEntries(
      await Promise.all(
        claims.map(async (claim) => {
          // A kubelet that gave up asks again while the first work may still go on.
          const one = turns.take([claim.uid], async () => answer(claim))
          return [claim.uid, await one.catch((error: unknown) => ({ error: (error as Error).message }))] as const
        }),
      ),
    )
  const driver: DRAPluginServer = {
    nodePrepareResources({ request: { claims } }, reply) {
      void answered(reply, async () => {
        const answers = await eachOf(claims, async (claim) => ({
          devices: (await options.prepare(claim)).map(({ pool, device, shareId, requests = [], cdiIds = [] }) => ({
            poolName: pool,
            deviceName: device,
            shareId,
            // One of several alternatives is known to the kubelet by the request that has them.
            requestNames: requests.map((request) => request.replace(/\/.*/, '')),
            cdiDeviceIds: [...cdiIds],
          })),
        }))
        return NodePrepareResourcesResponse.fromPartial({ claims: answers })
      })
    },
    nodeUnprepareResources({ request: { claims } }, reply) {
      void answered(reply, async () => {
        const answers = await eachOf(claims, async (claim) => {
          await options.unprepare(claim)
          return {}
        })
        return NodeUnprepareResourcesResponse.fromPartial({ claims: answers })
      })
    },
  }
  const serving = new Server()
  for (const version of draVersions) serving.addService(draService(version), driver)
  await using opening = new AsyncDisposableStack()
  opening.use(await listenOn(serving, endpoint))
  const supportedVersions = [...draServices]
  opening.use(
    await serveRegistration({ type: 'DRAPlugin', name: driverName, endpoint, supportedVersions, rootDir, onError }),
  )
  return opening.move()
}
