// Create, change and delete objects: the rules that hold for all kinds. Synchronous: each call is one step.
import { randomBytes, randomUUID } from 'node:crypto'
import type { DeleteOptions } from 'kubernetes-types/meta/v1.d.ts'
import { applyMergePatch } from '@nodelet/kube-client'
import { applyDefaults } from '../kinds/defaults.ts'
import { groupVersionOf, kindOf, storeName } from '../kinds/kinds.ts'
import type { Kind } from '../kinds/kinds.ts'
import { findMisfits, schemaOf } from '../kinds/schema.ts'
import { approved, completeRequest, signed } from '../kinds/certificates.ts'
import { allocate } from '../kinds/services.ts'
import type { Ranges } from '../kinds/services.ts'
import { badQuantity } from '../kinds/quantity.ts'
import { changeProblems, problemsOf } from '../kinds/validate.ts'
import { fieldsAt, isFields, sameJson, timeNow } from '../object.ts'
import type { ApiObject, Fields } from '../object.ts'
import type { Store } from '../store.ts'
import {
  alreadyExists,
  ApiError,
  badRequest,
  conflict,
  invalid,
  invalidValue,
  modified,
  notFound,
  refused,
  wrongMediaType,
} from './errors.ts'
import type { FieldProblem } from './errors.ts'
import { applyJsonPatch, applyStrategicPatch, PatchError } from './patch.ts'
import { changesPart, completePod, partChangeProblems, partlyChanged } from './pods.ts'
import { setFinalizers } from './propagation.ts'
import type { UserInfo } from './user.ts'
import { completeVolume, growthRefused, notePhase } from './volumes.ts'

/** Where an object is. */
export interface Target {
  kind: Kind
  namespace?: string | undefined
  name: string
}

export interface WriteOptions {
  dryRun: boolean
  /** Who asks. */
  user: UserInfo
  /** What is done about unknown fields. */
  validation: 'Ignore' | 'Warn' | 'Strict'
  /** Told of what is only warned about. */
  warn: (text: string) => void
}

export interface Resources {
  get(target: Target): ApiObject
  create(kind: Kind, namespace: string | undefined, body: Fields, options: WriteOptions): ApiObject
  update(target: Target, subresource: string | undefined, body: Fields, options: WriteOptions): ApiObject
  patch(target: Target, subresource: string | undefined, type: string, patch: unknown, options: WriteOptions): ApiObject
  /** The object while it stays for its finalizers or its grace, and whether it is gone. */
  remove(target: Target, options: DeleteOptions, dryRun?: boolean): { object: ApiObject; gone: boolean }
  /** Changes an object by a function of its copy, with all checks. */
  edit(target: Target, change: (copy: ApiObject) => void): ApiObject
}

const conversions: Readonly<Record<string, string>> = { '': 'core' }

export function createResources(store: Store, ranges: Ranges): Resources {
  const find = ({ kind, namespace = '', name }: Target): ApiObject => {
    const found = store.get(storeName(kind), namespace, name)
    if (!found) throw notFound(kind, name)
    return found
  }

  const put = (kind: Kind, object: ApiObject, { dryRun }: Pick<WriteOptions, 'dryRun'>): ApiObject =>
    dryRun ? object : store.put(storeName(kind), object)

  const check = (kind: Kind, object: ApiObject, before?: ApiObject, subresource?: string): void => {
    const problems = [
      ...problemsOf(kind.resource, object),
      ...(before ? changesRefused(kind, before, object, subresource) : []),
    ]
    if (kind.resource === 'services' && problems.length === 0) {
      problems.push(...allocate(object, store.list(storeName(kind)), ranges))
    }
    if (problems.length > 0) throw invalid(kind, object.metadata.name, problems)
  }

  const create: Resources['create'] = (kind, namespace, body, options) => {
    const object = decode(kind, structuredClone(body), options)
    const { metadata } = object
    if (kind.namespaced) {
      if (metadata.namespace && metadata.namespace !== namespace) {
        throw badRequest('the namespace of the provided object does not match the namespace sent on the request')
      }
      metadata.namespace = namespace ?? ''
      requireNamespace(store, kind, metadata.namespace)
    } else delete metadata.namespace
    if (!metadata.name && metadata.generateName) metadata.name = generateName(metadata.generateName)
    if (!metadata.name) {
      throw invalid(kind, '', [
        { field: 'metadata.name', reason: 'Required', message: 'Required value: name or generateName is required' },
      ])
    }
    for (const key of [
      'deletionTimestamp',
      'deletionGracePeriodSeconds',
      'resourceVersion',
      'selfLink',
      'managedFields',
    ] as const) {
      delete metadata[key]
    }
    metadata.uid = randomUUID()
    metadata.creationTimestamp = timeNow()
    if (kind.counted) metadata.generation = 1
    else delete metadata.generation
    if (kind.resource === 'namespaces')
      metadata.labels = { 'kubernetes.io/metadata.name': metadata.name, ...metadata.labels }
    if (withoutStatus.has(kind.resource)) object.status = {}
    if (kind.resource === 'certificatesigningrequests') completeRequest(object, options.user)
    completeVolume(kind.resource, object, () => store.list(storeName(kindOf('storageclasses'))))
    applyDefaults(kind.resource, object)
    if (kind.resource === 'pods') completePod(object)
    check(kind, object)
    if (store.get(storeName(kind), metadata.namespace ?? '', metadata.name)) throw alreadyExists(kind, metadata.name)
    return put(kind, object, options)
  }

  /** Takes what may change from `wanted`, keeps the rest, checks and stores. */
  const replace = (
    target: Target,
    subresource: string | undefined,
    wanted: ApiObject,
    options: WriteOptions,
  ): ApiObject => {
    const { kind, name } = target
    const before = find(target)
    const { resourceVersion, uid } = wanted.metadata
    if (uid && uid !== before.metadata.uid) {
      throw invalid(kind, name, [invalidValue('metadata.uid', uid, 'field is immutable')])
    }
    if (resourceVersion && resourceVersion !== '0' && resourceVersion !== before.metadata.resourceVersion)
      throw modified(kind, name)
    const after = merged(kind, before, wanted, subresource)
    applyDefaults(kind.resource, after)
    if (kind.resource === 'persistentvolumes') notePhase(before, after)
    check(kind, after, before, subresource)
    if (kind.resource === 'persistentvolumeclaims') requireGrowth(store, kind, before, after)
    if (kind.counted && !sameJson(before.spec, after.spec)) {
      after.metadata.generation = (before.metadata.generation ?? 0) + 1
    }
    if (
      before.metadata.deletionTimestamp &&
      isFinalized(after) &&
      (after.metadata.deletionGracePeriodSeconds ?? 0) === 0
    ) {
      return options.dryRun ? after : store.remove(storeName(kind), after)
    }
    return sameJson(before, after) ? before : put(kind, after, options)
  }

  const update: Resources['update'] = (target, subresource, body, options) => {
    const { kind, name } = target
    const wanted = decode(kind, structuredClone(body), options)
    if (wanted.metadata.name && wanted.metadata.name !== name) {
      throw badRequest(`the name of the object (${wanted.metadata.name}) does not match the name on the URL (${name})`)
    }
    return replace(target, subresource, wanted, options)
  }

  const patch: Resources['patch'] = (target, subresource, type, changes, options) => {
    const { kind } = target
    const before = find(target)
    const place = schemaOf(groupVersionOf(kind), kind.kind)
    // A copy: what the patch does not touch is still the stored object's own.
    const wanted = structuredClone(patched(before, type, changes, place))
    if (!isFields(wanted)) throw badRequest('the patch leaves no object')
    const object = decode(kind, { ...wanted, apiVersion: groupVersionOf(kind), kind: kind.kind }, options)
    // A patch that does not name a version applies to the newest.
    if (object.metadata.resourceVersion === before.metadata.resourceVersion) delete object.metadata.resourceVersion
    return replace(target, subresource, object, options)
  }

  const remove: Resources['remove'] = (target, wishes, dryRun = false) => {
    const { kind, name } = target
    const { preconditions, gracePeriodSeconds } = wishes
    const before = find(target)
    const { metadata } = before
    if (preconditions?.uid && preconditions.uid !== metadata.uid) {
      throw conflict(
        { ...kind, resource: kind.kind },
        name,
        `the UID in the precondition (${preconditions.uid}) does not match the UID in record (${metadata.uid}). The object might have been deleted and then recreated`,
      )
    }
    if (preconditions?.resourceVersion && preconditions.resourceVersion !== metadata.resourceVersion) {
      throw conflict(
        { ...kind, resource: kind.kind },
        name,
        `the ResourceVersion in the precondition (${preconditions.resourceVersion}) does not match the ResourceVersion in record (${metadata.resourceVersion}). The object might have been modified`,
      )
    }
    const grace = graceOf(kind, before, gracePeriodSeconds)
    const isShorter = grace < (metadata.deletionGracePeriodSeconds ?? Number.POSITIVE_INFINITY)
    const after: ApiObject = structuredClone(before)
    const isAwaited = setFinalizers(after.metadata, wishes)
    if (isShorter) {
      after.metadata.deletionTimestamp = timeNow(new Date(Date.now() + grace * 1000))
      after.metadata.deletionGracePeriodSeconds = grace
      if (kind.counted && !metadata.deletionTimestamp) after.metadata.generation = (metadata.generation ?? 0) + 1
      if (kind.resource === 'namespaces') fieldsAt(after, 'status').phase = 'Terminating'
    }
    if (dryRun) return { object: after, gone: false }
    if (grace === 0 && isFinalized(after)) return { object: store.remove(storeName(kind), after), gone: true }
    return { object: isShorter || isAwaited ? store.put(storeName(kind), after) : before, gone: false }
  }

  const edit: Resources['edit'] = (target, change) => {
    const copy = structuredClone(find(target))
    change(copy)
    return store.put(storeName(target.kind), copy)
  }

  return { get: find, create, update, patch, remove, edit }
}

/** What of these is told of a new one counts for nothing. */
const withoutStatus = new Set([
  'deployments',
  'replicasets',
  'services',
  'certificatesigningrequests',
  'podcertificaterequests',
  'persistentvolumes',
  'persistentvolumeclaims',
  'volumeattachments',
])

function requireGrowth(store: Store, kind: Kind, before: ApiObject, after: ApiObject): void {
  const why = growthRefused(before, after, (name) => store.get(storeName(kindOf('storageclasses')), '', name))
  if (why !== undefined) throw refused(kind, after.metadata.name, why)
}

function requireNamespace(store: Store, kind: Kind, namespace: string): void {
  const found = store.get('namespaces', '', namespace)
  if (!found) throw notFound(kindOf('namespaces'), namespace)
  if (!found.metadata.deletionTimestamp) return
  throw new ApiError(
    403,
    'Forbidden',
    `unable to create new content in namespace ${namespace} because it is being terminated`,
    {
      kind: kind.resource,
      causes: [
        {
          reason: 'NamespaceTerminating',
          message: `namespace ${namespace} is being terminated`,
          field: 'metadata.namespace',
        },
      ],
    },
  )
}

/** Checks apiVersion, kind, types and unknown fields. */
function decode(kind: Kind, body: Fields, { validation, warn }: WriteOptions): ApiObject {
  const groupVersion = groupVersionOf(kind)
  const said = typeof body.kind === 'string' ? body.kind : kind.kind
  const version = typeof body.apiVersion === 'string' ? body.apiVersion : groupVersion
  const refuse = (why: string): ApiError =>
    badRequest(`${said} in version ${JSON.stringify(kind.version)} cannot be handled as a ${kind.kind}: ${why}`)
  if (said !== kind.kind || version !== groupVersion) {
    const inner = `${conversions[kind.group] ?? kind.group}.${kind.kind}`
    throw refuse(`converting (${version}.${said}) to (${inner}): unknown conversion`)
  }
  const place = schemaOf(groupVersion, kind.kind)
  const { unknown, wrongType } = place ? findMisfits(place, body) : { unknown: [], wrongType: undefined }
  if (wrongType) {
    const { path, got, want } = wrongType
    throw refuse(`json: cannot unmarshal ${got} into Go struct field ${kind.kind}.${path} of type ${want}`)
  }
  if (badQuantity(body)) {
    throw refuse(`quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'`)
  }
  const texts = unknown.map((path) => `unknown field ${JSON.stringify(path)}`)
  if (texts.length > 0 && validation === 'Strict') throw refuse(`strict decoding error: ${texts.join(', ')}`)
  if (validation === 'Warn') for (const text of texts) warn(text)
  for (const path of unknown) dropField(body, path)
  return {
    ...body,
    apiVersion: groupVersion,
    kind: kind.kind,
    metadata: fieldsAt(body, 'metadata') as unknown as ApiObject['metadata'],
  }
}

/** Unknown fields are not stored. */
function dropField(object: Fields, path: string): void {
  const parts = path.split(/[.[\]]+/).filter((part) => part !== '')
  const last = parts.pop()
  let at: unknown = object
  for (const part of parts)
    at = isFields(at) ? at[part] : Array.isArray(at) ? (at as unknown[])[Number(part)] : undefined
  if (isFields(at) && last !== undefined) delete at[last]
}

function patched(before: ApiObject, type: string, changes: unknown, place: ReturnType<typeof schemaOf>): unknown {
  try {
    switch (type) {
      case 'application/json-patch+json':
        return applyJsonPatch(before, changes)
      case 'application/merge-patch+json':
        return applyMergePatch(before, changes)
      case 'application/strategic-merge-patch+json':
        return applyStrategicPatch(before, changes, place)
      default:
        throw wrongMediaType()
    }
  } catch (error) {
    if (!(error instanceof PatchError)) throw error
    const text = 'the server rejected our request due to an error in our request'
    // Upstream does not say which operation of a JSON patch failed; clients compare the text.
    throw new ApiError(422, 'Invalid', type.includes('json-patch') ? text : `${text}: ${error.message}`, {})
  }
}

/** Metadata that clients do not set. */
const kept = [
  'uid',
  'creationTimestamp',
  'deletionTimestamp',
  'deletionGracePeriodSeconds',
  'generation',
  'namespace',
  'name',
  'resourceVersion',
  'generateName',
] as const

function merged(kind: Kind, before: ApiObject, wanted: ApiObject, subresource: string | undefined): ApiObject {
  const copy = structuredClone(wanted)
  const metadata = { ...copy.metadata } as unknown as Fields
  for (const key of kept) {
    const value = (before.metadata as unknown as Fields)[key]
    if (value === undefined) delete metadata[key]
    else metadata[key] = value
  }
  delete metadata.managedFields
  const own = { ...copy, metadata: metadata as unknown as ApiObject['metadata'] }
  if (kind.resource === 'certificatesigningrequests') {
    if (subresource === 'approval') return approved(before, own)
    if (subresource === 'status') return signed(before, own)
    return { ...structuredClone(before), metadata: own.metadata }
  }
  if (changesPart(subresource)) {
    const spec = partlyChanged(subresource, fieldsAt(before, 'spec'), fieldsAt(copy, 'spec'))
    return { ...structuredClone(before), metadata: own.metadata, spec: structuredClone(spec) }
  }
  if (subresource === 'status') return { ...structuredClone(before), metadata: own.metadata, status: copy.status ?? {} }
  if (kind.subresources.status && before.status !== undefined) return { ...own, status: structuredClone(before.status) }
  return own
}

const changesRefused = (kind: Kind, before: ApiObject, after: ApiObject, subresource?: string): FieldProblem[] =>
  changesPart(subresource)
    ? partChangeProblems(subresource, fieldsAt(before, 'spec'), fieldsAt(after, 'spec'))
    : changeProblems(kind.resource, before, after)

const isFinalized = ({ metadata, kind, spec }: ApiObject): boolean =>
  (metadata.finalizers ?? []).length === 0 &&
  !(kind === 'Namespace' && isFields(spec) && Array.isArray(spec.finalizers) && spec.finalizers.length > 0)

/** Seconds. Pods on a node get their grace; everything else goes at once. */
function graceOf(kind: Kind, { spec, status }: ApiObject, asked: number | undefined): number {
  if (kind.resource !== 'pods' || !isFields(spec) || !spec.nodeName) return 0
  if (isFields(status) && (status.phase === 'Succeeded' || status.phase === 'Failed'))
    return asked === undefined ? 0 : Math.max(0, asked)
  const own = typeof spec.terminationGracePeriodSeconds === 'number' ? spec.terminationGracePeriodSeconds : 30
  return Math.max(0, asked ?? own)
}

const letters = 'bcdfghjklmnpqrstvwxz2456789'

/** A name with five random letters that spell no words. */
export function generateName(prefix: string): string {
  const longest = 58
  const tail = [...randomBytes(5)].map((byte) => letters[byte % letters.length]).join('')
  return `${prefix.slice(0, longest)}${tail}`
}
