// A driver that the suite speaks to, over its socket as anyone does.
import { AssertionError } from 'node:assert'
import { randomUUID } from 'node:crypto'
import { mkdir, rmdir } from 'node:fs/promises'
import { join } from 'node:path'
import { Client, credentials, type ServiceError, status } from '@grpc/grpc-js'
import {
  ControllerService,
  ControllerServiceCapability_RPC_Type as ControllerRpc,
  CreateVolumeRequest,
  type DeepPartial,
  IdentityService,
  NodePublishVolumeRequest,
  NodeService,
  NodeServiceCapability_RPC_Type as NodeRpc,
  NodeStageVolumeRequest,
  PluginCapability_Service_Type as Service,
  type Volume,
  VolumeCapability,
} from '../gen/csi.ts'
import { isMounted } from '../sdk/mounting.ts'

export interface DriverUnderTest {
  /** Of a driver that serves. */
  socketPath: string
  /** A folder that is there, of the suite alone: it mounts below. */
  folder: string
  /** Parameters of each volume that is made. Default: none. */
  parameters?: Readonly<Record<string, string>>
  /** Secrets of each call. Default: none. */
  secrets?: Readonly<Record<string, string>>
  /** Bytes of each volume; default 10 MiB. */
  sizeBytes?: number
  /** Default: mounted volumes. */
  isBlock?: boolean
  /** Of mounted volumes; default: the driver's own. */
  fsType?: string
}

export interface SuiteCase {
  /** For instance `NodePublishVolume: before the volume is staged it is FAILED_PRECONDITION`. */
  name: string
  /** @throws AssertionError */
  run(): Promise<'passed' | 'not claimed'>
}

type Code = keyof typeof status

/** How a method is on the wire. */
interface Method<Request, Response> {
  path: string
  requestSerialize(request: Request): Buffer
  responseDeserialize(bytes: Buffer): Response
}

/** What a driver may claim: the controller service, its capabilities, and those of the node service. */
export type Claim = 'controller' | keyof typeof ControllerRpc | `node ${keyof typeof NodeRpc}`

/** A case is about something that the driver does not claim. */
export class NotClaimed extends Error {}

const deadlineMs = 120_000

/** What a case has in hand. Disposing it takes away what the case made, the last first. */
export class Session implements AsyncDisposable {
  readonly subject: DriverUnderTest
  readonly capability: VolumeCapability
  readonly secrets: Record<string, string>
  readonly #client: Client
  readonly #ends = new AsyncDisposableStack()
  #claims: Promise<Set<string>> | undefined

  constructor(subject: DriverUnderTest) {
    const { socketPath, isBlock = false, fsType = '', secrets = {} } = subject
    this.subject = subject
    this.secrets = { ...secrets }
    this.capability = VolumeCapability.fromPartial({
      accessMode: { mode: 1 },
      ...(isBlock ? { block: {} } : { mount: { fsType } }),
    })
    const options = { 'grpc.use_local_subchannel_pool': 1, 'grpc.default_authority': 'localhost' }
    this.#client = new Client(`unix://${socketPath}`, credentials.createInsecure(), options)
    this.#ends.defer(() => this.#client.close())
  }

  /** A call by its promise; rejected with gRPC's error. */
  async call<Request, Response>(method: Method<Request, Response>, request: Request): Promise<Response> {
    const { path, requestSerialize, responseDeserialize } = method
    const deadline = Date.now() + deadlineMs
    return new Promise((resolve, reject) => {
      this.#client.makeUnaryRequest(
        path,
        requestSerialize,
        responseDeserialize,
        request,
        { deadline },
        (error, answer) => (error ? reject(error) : resolve(answer as Response)),
      )
    })
  }

  /** @throws AssertionError unless the call fails with one of the codes, and says why */
  async refuses<Request>(codes: Code | Code[], method: Method<Request, unknown>, request: Request): Promise<void> {
    const wanted = [codes].flat()
    const what = method.path.split('/').at(-1)
    const { code, details } = await this.call(method, request).then(
      () => ({ code: status.OK, details: '' }),
      (error: ServiceError) => error,
    )
    const got = status[code] as Code
    if (!wanted.includes(got))
      fail(`${what} ended with ${got}${details && `, ${details}`}; not with ${wanted.join(' or ')}`)
    if (details === '') fail(`${what} ended with ${got} and no message`)
  }

  /** As `refuses`; what is mounted all the same is taken away at the end. */
  async refusesToPublish(codes: Code | Code[], request: NodePublishVolumeRequest): Promise<void> {
    const { volumeId, targetPath } = request
    this.later(async () => {
      if (await isMounted(targetPath)) await this.call(NodeService.nodeUnpublishVolume, { volumeId, targetPath })
    })
    await this.refuses(codes, NodeService.nodePublishVolume, request)
  }

  /** Runs at the end; what fails there fails the case. */
  later(work: () => Promise<unknown>): void {
    this.#ends.defer(async () => void (await work()))
  }

  async has(claim: Claim): Promise<boolean> {
    return (await (this.#claims ??= this.#readClaims())).has(claim)
  }

  /** @throws NotClaimed */
  async needs(...claims: Claim[]): Promise<void> {
    for (const claim of claims) if (!(await this.has(claim))) throw new NotClaimed(claim)
  }

  /** One that the driver should grant. */
  createRequest(changes: DeepPartial<CreateVolumeRequest> = {}): CreateVolumeRequest {
    const { sizeBytes = 10 * 2 ** 20, parameters = {} } = this.subject
    return CreateVolumeRequest.fromPartial({
      name: unique('volume'),
      capacityRange: { requiredBytes: BigInt(sizeBytes) },
      volumeCapabilities: [this.capability],
      parameters: { ...parameters },
      secrets: this.secrets,
      ...changes,
    })
  }

  /** Makes a volume, which is deleted at the end. */
  async volume(changes?: DeepPartial<CreateVolumeRequest>): Promise<Volume> {
    await this.needs('CREATE_DELETE_VOLUME')
    const { volume } = await this.call(ControllerService.createVolume, this.createRequest(changes))
    if (!volume) return fail('CreateVolume: volume is missing')
    const { volumeId } = volume
    this.later(async () => this.call(ControllerService.deleteVolume, { volumeId, secrets: this.secrets }))
    return volume
  }

  /** A folder of this case, which must be empty at its end. */
  async folder(what: string): Promise<string> {
    const path = join(this.subject.folder, unique(what))
    await mkdir(path)
    this.later(async () => rmdir(path))
    return path
  }

  stageRequest(volume: Volume, stagingTargetPath: string): NodeStageVolumeRequest {
    const { volumeId, volumeContext } = volume
    const { capability: volumeCapability, secrets } = this
    return NodeStageVolumeRequest.fromPartial({ volumeId, stagingTargetPath, volumeCapability, volumeContext, secrets })
  }

  /** Attached, when the driver wants it; staged, when it stages; until the end. Answers the staging path, or ''. */
  async stage(volume: Volume): Promise<string> {
    const { volumeId } = volume
    const publishContext = await this.attach(volume)
    if (!(await this.has('node STAGE_UNSTAGE_VOLUME'))) return ''
    const stagingTargetPath = await this.folder('staging')
    this.later(async () => this.call(NodeService.nodeUnstageVolume, { volumeId, stagingTargetPath }))
    await this.call(NodeService.nodeStageVolume, { ...this.stageRequest(volume, stagingTargetPath), publishContext })
    return stagingTargetPath
  }

  /** Published by the controller, until the end, when the driver wants that; its publish context. */
  async attach(volume: Volume): Promise<Record<string, string>> {
    if (!(await this.has('PUBLISH_UNPUBLISH_VOLUME'))) return {}
    const { volumeId, volumeContext } = volume
    const { capability: volumeCapability, secrets } = this
    const { nodeId } = await this.call(NodeService.nodeGetInfo, {})
    this.later(async () => this.call(ControllerService.controllerUnpublishVolume, { volumeId, nodeId, secrets }))
    const request = { volumeId, nodeId, volumeCapability, volumeContext, secrets, readonly: false }
    return (await this.call(ControllerService.controllerPublishVolume, request)).publishContext
  }

  publishRequest(
    volume: Volume,
    stagingTargetPath: string,
    targetPath: string,
    changes: DeepPartial<NodePublishVolumeRequest> = {},
  ): NodePublishVolumeRequest {
    const { volumeId, volumeContext } = volume
    const { capability: volumeCapability, secrets } = this
    const request = { volumeId, stagingTargetPath, targetPath, volumeCapability, volumeContext, secrets }
    return NodePublishVolumeRequest.fromPartial({ ...request, ...changes })
  }

  /** Published until the end; answers the target. */
  async publish(volume: Volume, staging: string, changes?: DeepPartial<NodePublishVolumeRequest>): Promise<string> {
    const targetPath = join(await this.folder('pod'), 'mount')
    const { volumeId } = volume
    this.later(async () => this.call(NodeService.nodeUnpublishVolume, { volumeId, targetPath }))
    await this.call(NodeService.nodePublishVolume, this.publishRequest(volume, staging, targetPath, changes))
    return targetPath
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#ends.disposeAsync()
  }

  async #readClaims(): Promise<Set<string>> {
    const claims = new Set<string>()
    const node = await this.call(NodeService.nodeGetCapabilities, {})
    for (const { rpc } of node.capabilities) if (rpc) claims.add(`node ${nameOf(NodeRpc, rpc.type)}`)
    const { capabilities } = await this.call(IdentityService.getPluginCapabilities, {})
    if (!capabilities.some(({ service }) => service?.type === Service.CONTROLLER_SERVICE)) return claims
    claims.add('controller')
    const controller = await this.call(ControllerService.controllerGetCapabilities, {})
    for (const { rpc } of controller.capabilities) if (rpc) claims.add(nameOf(ControllerRpc, rpc.type))
    return claims
  }
}

const nameOf = (names: Readonly<Record<string, number>>, value: number): string =>
  Object.keys(names).find((name) => names[name] === value) ?? String(value)

export function fail(message: string): never {
  throw new AssertionError({ message })
}

/** A name that nobody has used. */
export const unique = (what: string): string => `${what}-${randomUUID()}`

export type Cases = Readonly<Record<string, (session: Session) => Promise<void>>>
