// An API that keeps objects in memory, as a KubeClient: enough of lists, watches and patches for a kubelet.
import { randomUUID } from 'node:crypto'
import { EventEmitter, once } from 'node:events'
import {
  applyMergePatch,
  type KubeClient,
  type KubeObject,
  matchesFields,
  parseFieldSelector,
  pathOf,
  type RateLimit,
  StatusError,
} from '@nodelet/kube-client'

export interface Seen {
  verb: string
  path: string
  body: unknown
}

export interface MemoryApi {
  client: KubeClient
  seen: Seen[]
  /** How clients that keep to a rate were made, and what went through them, such as `patch pods`. */
  limits: RateLimit[]
  limited: Set<string>
  get(path: string): KubeObject | undefined
  put(path: string, object: KubeObject): void
  /** Deletes as users do: pods get a time to end. */
  remove(path: string, graceSeconds?: number): void
}

type Fields = Record<string, unknown>

/** Conditions are merged by type; everything else as a merge patch does. */
function strategic(target: Fields, patch: Fields): Fields {
  const merged = applyMergePatch(target, patch) as Fields
  const [before, changes] = [target['status'] as Fields | undefined, patch['status'] as Fields | undefined]
  const conditions = changes?.['conditions'] as { type: string }[] | undefined
  if (!conditions) return merged
  const old = (before?.['conditions'] ?? []) as { type: string }[]
  const kept = old.filter(({ type }) => !conditions.some((one) => one.type === type))
  const fresh = conditions.filter((one) => !('$patch' in one))
  return { ...merged, status: { ...(merged['status'] as Fields), conditions: [...kept, ...fresh] } }
}

export function createMemoryApi(): MemoryApi {
  const objects = new Map<string, KubeObject>()
  const changes = new EventEmitter().setMaxListeners(0)
  const seen: Seen[] = []
  const limits: RateLimit[] = []
  const limited = new Set<string>()
  const history: { type: string; object: KubeObject; path: string; at: number }[] = []
  let version = 1

  const refuse = (path: string, code: number, reason: string): never => {
    throw new StatusError(path, { code, reason, message: `${reason}: ${path}` })
  }
  const tell = (type: string, object: KubeObject, path: string): void => {
    history.push({ type, object: structuredClone(object), path, at: ++version })
    changes.emit('change')
  }
  const put = (path: string, object: KubeObject): KubeObject => {
    const before = objects.get(path)
    const metadata = {
      uid: randomUUID(),
      creationTimestamp: new Date().toISOString() as never,
      ...before?.metadata,
      ...object.metadata,
      resourceVersion: String(++version),
    }
    const stored = { ...object, metadata }
    objects.set(path, stored)
    tell(before ? 'MODIFIED' : 'ADDED', stored, path)
    return structuredClone(stored)
  }
  const drop = (path: string): void => {
    const object = objects.get(path)
    if (object && objects.delete(path)) tell('DELETED', object, path)
  }
  const need = (path: string): KubeObject => objects.get(path) ?? refuse(path, 404, 'NotFound')
  const ours = (path: string, base: string, selector: string | undefined, object: KubeObject): boolean => {
    const [group, rest] = [base.slice(0, base.lastIndexOf('/')), base.slice(base.lastIndexOf('/'))]
    const inside = path.startsWith(`${base}/`) || (path.startsWith(`${group}/namespaces/`) && path.includes(`${rest}/`))
    return inside && matchesFields(parseFieldSelector(selector ?? ''), object)
  }

  const client = {
    get: async (resource: never, ref: never) => structuredClone(need(pathOf(resource, ref))),
    list: async (
      resource: never,
      { namespace, fieldSelector }: { namespace?: string; fieldSelector?: string } = {},
    ) => {
      const base = pathOf(resource, namespace ? { namespace } : {})
      const items = [...objects].filter(([path, object]) => ours(path, base, fieldSelector, object))
      return {
        metadata: { resourceVersion: String(version) },
        items: items.map(([, object]) => structuredClone(object)),
      }
    },
    async *watch(
      resource: never,
      options: { namespace?: string; fieldSelector?: string; resourceVersion?: string; signal?: AbortSignal } = {},
    ) {
      const base = pathOf(resource, options.namespace ? { namespace: options.namespace } : {})
      const from = Number(options.resourceVersion ?? version)
      for (let index = 0; ;) {
        const change = history[index]
        if (!change) {
          await once(changes, 'change', options.signal ? { signal: options.signal } : {})
          continue
        }
        index++
        const { type, object, path, at } = change
        if (at > from && ours(path, base, options.fieldSelector, object))
          yield { type, object: structuredClone(object) }
      }
    },
    create: async (resource: never, object: KubeObject) => {
      const { namespace, name = '' } = object.metadata ?? {}
      const path = pathOf(resource, namespace ? { namespace, name } : { name })
      seen.push({ verb: 'create', path, body: object })
      if (objects.has(path)) refuse(path, 409, 'AlreadyExists')
      return put(path, object)
    },
    update: async (resource: never, object: KubeObject) => {
      const { namespace, name = '' } = object.metadata ?? {}
      const path = pathOf(resource, namespace ? { namespace, name } : { name })
      seen.push({ verb: 'update', path, body: object })
      need(path)
      return put(path, object)
    },
    patch: async (resource: never, ref: never, patch: { body: Fields }) => {
      const path = pathOf(resource, ref)
      seen.push({ verb: 'patch', path, body: patch.body })
      const object = need(path)
      const uid = (patch.body['metadata'] as { uid?: string } | undefined)?.uid
      if (uid && uid !== object.metadata?.uid) refuse(path, 409, 'Conflict')
      return put(path, strategic(object as Fields, patch.body) as KubeObject)
    },
    delete: async (resource: never, ref: never, options: { preconditions?: { uid?: string } } = {}) => {
      const path = pathOf(resource, ref)
      seen.push({ verb: 'delete', path, body: options })
      const { uid } = options.preconditions ?? {}
      if (uid && need(path).metadata?.uid !== uid) refuse(path, 409, 'Conflict')
      drop(path)
      return {}
    },
    deleteCollection: async (resource: never, { fieldSelector }: { fieldSelector?: string } = {}) => {
      const base = pathOf(resource)
      seen.push({ verb: 'deleteCollection', path: base, body: fieldSelector })
      for (const [path, object] of objects) if (ours(path, base, fieldSelector, object)) drop(path)
    },
    raw: async () => refuse('raw', 404, 'NotFound'),
    observe: () => ({ [Symbol.dispose]() {} }),
    limited(limit: RateLimit): KubeClient {
      limits.push(limit)
      const noted = (['get', 'list', 'watch', 'create', 'update', 'patch', 'delete'] as const).map((verb) => {
        const call = (resource: { plural: string }, ...more: never[]): unknown => {
          limited.add(`${verb} ${resource.plural}`)
          return (client[verb] as (...args: unknown[]) => unknown)(resource, ...more)
        }
        return [verb, call] as const
      })
      return { ...client, ...Object.fromEntries(noted) }
    },
    close: async () => {},
    [Symbol.asyncDispose]: async () => {},
  } as unknown as KubeClient

  return {
    client,
    seen,
    limits,
    limited,
    get: (path) => objects.get(path),
    put: (path, object) => void put(path, object),
    remove(path, graceSeconds = 30) {
      const object = need(path)
      const metadata = {
        ...object.metadata,
        deletionTimestamp: new Date(Date.now() + graceSeconds * 1000).toISOString() as never,
        deletionGracePeriodSeconds: graceSeconds,
      }
      put(path, { ...object, metadata })
    },
  }
}
