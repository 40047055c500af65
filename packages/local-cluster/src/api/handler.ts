// One request of a resource: path and verb → what is done → the answer.
import type { IncomingMessage, ServerResponse } from 'node:http'
import { groupVersionOf, kindOf, storeName } from '../kinds/kinds.ts'
import { tableOf } from '../kinds/tables.ts'
import type { Include } from '../kinds/tables.ts'
import { isFields } from '../object.ts'
import type { ApiObject, Fields } from '../object.ts'
import type { Store } from '../store.ts'
import { ApiError, badRequest, invalid, noSuchResource, required } from './errors.ts'
import { accepted, mediaType, parseBody, readBody } from './request.ts'
import type { ResourcePath } from './request.ts'
import type { Resources, Target, WriteOptions } from './resources.ts'
import { onlyOne, selection } from './select.ts'
import { bind, changeScale, evict, requestToken, review, scaleOf } from './subresources.ts'
import type { Identity } from './subresources.ts'
import type { UserInfo } from './user.ts'
import { parseVersion, serveWatch, versionTooLarge } from './watch.ts'

export interface Handled {
  path: ResourcePath
  query: URLSearchParams
  user: UserInfo
  verb: string
}

/** A page of a list goes on at this place. */
interface Continue {
  after: string
  version: number
}

export function createHandler(
  store: Store,
  resources: Resources,
  identity: Identity,
): (request: IncomingMessage, response: ServerResponse, handled: Handled) => Promise<void> {
  return async (request, response, { path, query, user, verb }) => {
    const { kind, namespace, name, subresource } = path
    const as = accepted(request)
    const include = (query.get('includeObject') ?? 'Metadata') as Include
    const warn = (text: string): void => void response.appendHeader('warning', `299 - ${JSON.stringify(text)}`)
    const options: WriteOptions = {
      user,
      dryRun: query.getAll('dryRun').includes('All'),
      validation: (query.get('fieldValidation') as WriteOptions['validation'] | null) || 'Warn',
      warn,
    }
    const say = (code: number, object: unknown): void => {
      const isTable = as === 'table' && isFields(object) && object.kind === kind.kind
      const body = isTable
        ? tableOf(kind.resource, [object as ApiObject], {
            now: Date.now(),
            include,
            metadata: { resourceVersion: (object as ApiObject).metadata.resourceVersion },
          })
        : object
      response.writeHead(code, { 'content-type': 'application/json' }).end(`${JSON.stringify(body)}\n`)
    }
    const body = async (): Promise<Fields> => parseBody(await readBody(request), mediaType(request), kind.kind)
    const target = (): Target => ({ kind, namespace, name: name ?? '' })

    if (verb === 'watch') {
      const field = name === undefined ? query : withName(query, name)
      return serveWatch(
        store,
        { path, query, matches: selection(kind.resource, field), only: onlyOne(path, field), as, include },
        response,
      )
    }
    if (!kind.verbs.includes('list')) {
      if (verb !== 'create') throw notAllowed()
      return say(
        201,
        await review(
          kind.resource,
          { apiVersion: groupVersionOf(kind), kind: kind.kind, metadata: {}, ...(await body()) },
          user,
          identity,
        ),
      )
    }
    if (subresource !== undefined && !kind.subresources[subresource]) throw noSuchResource()
    switch (verb) {
      case 'list':
        return listObjects(response)
      case 'get':
        return say(200, subresource === 'scale' ? scaleOf(resources.get(target())) : resources.get(target()))
      case 'create':
        if (subresource === 'binding') return say(201, bind(resources, target(), await body()))
        if (subresource === 'eviction') return say(201, evict(resources, target(), await body()))
        if (subresource === 'token') return say(201, await requestToken(resources, identity, target(), await body()))
        if (name !== undefined) throw notAllowed()
        return say(201, resources.create(kind, namespace, await body(), options))
      case 'update':
        if (subresource === 'scale') return say(200, changeScale(resources, target(), await body(), undefined, options))
        return say(200, resources.update(target(), subresource, await body(), options))
      case 'patch':
        return change()
      case 'delete':
        return deleteOne()
      case 'deletecollection':
        return deleteAll()
      default:
        throw notAllowed()
    }

    async function change(): Promise<void> {
      const type = mediaType(request)
      if (type === 'application/apply-patch+yaml' || type === 'application/apply-patch+cbor') {
        if (!query.get('fieldManager')) {
          throw invalid({ group: 'meta.k8s.io', resource: '', kind: 'PatchOptions' }, '', [
            required('fieldManager', 'is required for apply patch'),
          ])
        }
        throw new ApiError(
          415,
          'UnsupportedMediaType',
          'server-side apply is not supported by this server: use apply without --server-side',
          {},
        )
      }
      const text = (await readBody(request)).toString('utf8')
      let patch: unknown
      try {
        patch = JSON.parse(text)
      } catch (error) {
        throw badRequest(`error decoding patch: ${(error as Error).message}`)
      }
      if (subresource === 'scale') return say(200, changeScale(resources, target(), patch, type, options))
      say(200, resources.patch(target(), subresource, type, patch, options))
    }

    async function deleteOne(): Promise<void> {
      const wishes = await deleteWishes()
      if (kind.resource === 'namespaces' && ['default', 'kube-system', 'kube-public'].includes(name ?? '')) {
        throw new ApiError(403, 'Forbidden', `namespaces "${name}" is forbidden: this namespace may not be deleted`, {
          name: name ?? '',
          kind: 'namespaces',
        })
      }
      const { object, gone } = resources.remove(target(), wishes, options.dryRun)
      // Pods answer as they last were; everything else that is gone, with a Status.
      if (!gone || kind.resource === 'pods') return say(200, object)
      const { uid } = object.metadata
      const details = { name, ...(kind.group && { group: kind.group }), kind: kind.resource, uid }
      say(200, { kind: 'Status', apiVersion: 'v1', metadata: {}, status: 'Success', details })
    }

    async function deleteAll(): Promise<void> {
      const wishes = await deleteWishes()
      const matches = selection(kind.resource, query)
      const items = store.list(storeName(kind), namespace).filter(matches)
      for (const { metadata } of items) {
        resources.remove({ kind, namespace: metadata.namespace, name: metadata.name }, wishes, options.dryRun)
      }
      say(200, listOf(items))
    }

    async function deleteWishes(): Promise<object> {
      const content = await readBody(request)
      const wishes = content.length > 0 ? parseBody(content, mediaType(request), 'DeleteOptions') : {}
      const grace = query.get('gracePeriodSeconds')
      if (Array.isArray(wishes.dryRun) && wishes.dryRun.includes('All')) options.dryRun = true
      const policy = query.get('propagationPolicy')
      return {
        ...(grace !== null && { gracePeriodSeconds: Number(grace) }),
        ...(policy !== null && { propagationPolicy: policy }),
        ...wishes,
      }
    }

    function listOf(items: readonly ApiObject[], more: object = {}): object {
      // Items of lists carry neither apiVersion nor kind.
      const bare = items.map(({ apiVersion: _version, kind: _kind, ...rest }) => rest)
      const metadata = { resourceVersion: String(store.revision()), ...more }
      return { kind: `${kind.kind}List`, apiVersion: groupVersionOf(kind), metadata, items: bare }
    }

    function listObjects(answer: ServerResponse): void {
      const wanted = parseVersion(query.get('resourceVersion') ?? '')
      if (wanted > store.revision()) throw versionTooLarge(wanted, store.revision())
      const one = onlyOne(path, query)
      const found = one
        ? [store.get(storeName(kind), one.namespace, one.name)].filter((object) => object !== undefined)
        : store.list(storeName(kind), namespace)
      const all = found.filter(selection(kind.resource, query))
      const { items, more } = page(all, Number(query.get('limit')) || 0, query.get('continue'), store.revision())
      if (as === 'json') return say(200, listOf(items, more))
      const metadata = { resourceVersion: String(store.revision()), ...more }
      const table = tableOf(kind.resource, items, { now: Date.now(), include, metadata })
      answer.writeHead(200, { 'content-type': 'application/json' }).end(`${JSON.stringify(table)}\n`)
    }
  }
}

const notAllowed = (): ApiError =>
  new ApiError(405, 'MethodNotAllowed', 'the server does not allow this method on the requested resource', {})

function withName(query: URLSearchParams, name: string): URLSearchParams {
  const copy = new URLSearchParams(query)
  copy.set('fieldSelector', [query.get('fieldSelector'), `metadata.name=${name}`].filter((one) => one).join(','))
  return copy
}

const keyOf = ({ metadata: { namespace = '', name } }: ApiObject): string => `${namespace}/${name}`

function page(
  all: readonly ApiObject[],
  limit: number,
  token: string | null,
  revision: number,
): { items: ApiObject[]; more: object } {
  const start = token ? parseContinue(token) : undefined
  const left = start ? all.filter((object) => keyOf(object) > start.after) : [...all]
  if (limit <= 0 || left.length <= limit) return { items: left, more: {} }
  const items = left.slice(0, limit)
  const next: Continue = { after: keyOf(items.at(-1) as ApiObject), version: start?.version ?? revision }
  return {
    items,
    more: {
      continue: Buffer.from(JSON.stringify(next)).toString('base64url'),
      remainingItemCount: left.length - limit,
    },
  }
}

function parseContinue(token: string): Continue {
  try {
    const { after, version } = JSON.parse(Buffer.from(token, 'base64url').toString()) as Continue
    if (typeof after === 'string') return { after, version }
  } catch {
    // not one of ours: refused below
  }
  throw badRequest('continue key is not valid: it is not one of this server')
}

/** For the connect handlers: the pod behind a subresource. */
export const podTarget = (namespace: string | undefined, name: string): Target => ({
  kind: kindOf('pods'),
  namespace,
  name,
})
