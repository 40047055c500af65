// What the server has, as clients discover it. Pure.
import { groupVersionOf, kinds } from '../kinds/kinds.ts'
import type { Kind } from '../kinds/kinds.ts'
import { documentOf } from '../kinds/schema.ts'
import { encodeOpenApiV2, openApiV2, openApiV2Type } from './openapi-v2.ts'
import { serverVersion } from './server-version.ts'

const groups: string[] = [...new Set(kinds.map(({ group }) => group).filter((group) => group !== ''))]
const groupVersions: string[] = [...new Set(kinds.map(groupVersionOf))]
/** The versions of a group, the preferred one first. */
const versionsOf = (group: string): string[] => [...new Set(inGroup(group).map(({ version }) => version))]
const inGroup = (group: string): Kind[] => kinds.filter((kind) => kind.group === group)

const groupDocument = (group: string): object => {
  const versions = versionsOf(group).map((version) => ({ groupVersion: `${group}/${version}`, version }))
  return { name: group, versions, preferredVersion: versions[0] }
}

function resourceList(groupVersion: string): object {
  const own = kinds.filter((kind) => groupVersionOf(kind) === groupVersion)
  const resources = own.flatMap((kind) => [
    {
      name: kind.resource,
      singularName: kind.singular,
      namespaced: kind.namespaced,
      kind: kind.kind,
      verbs: kind.verbs,
      ...(kind.shortNames && { shortNames: kind.shortNames }),
      ...(kind.categories && { categories: kind.categories }),
    },
    ...Object.entries(kind.subresources).map(([name, sub]) => ({
      name: `${kind.resource}/${name}`,
      singularName: '',
      namespaced: kind.namespaced,
      ...(sub.group !== undefined && { group: sub.group, version: sub.version }),
      kind: sub.kind,
      verbs: sub.verbs,
    })),
  ])
  return {
    kind: 'APIResourceList',
    ...(groupVersion.includes('/') && { apiVersion: 'v1' }),
    groupVersion,
    resources,
  }
}

const responseKind = (kind: Pick<Kind, 'group' | 'version' | 'kind'>): object => ({
  group: kind.group,
  version: kind.version,
  kind: kind.kind,
})

const aggregatedResource = (kind: Kind): object => ({
  resource: kind.resource,
  responseKind: responseKind(kind),
  scope: kind.namespaced ? 'Namespaced' : 'Cluster',
  singularResource: kind.singular,
  verbs: kind.verbs,
  ...(kind.shortNames && { shortNames: kind.shortNames }),
  ...(kind.categories && { categories: kind.categories }),
  subresources: Object.entries(kind.subresources).map(([subresource, sub]) => ({
    subresource,
    responseKind: { group: sub.group ?? kind.group, version: sub.version ?? kind.version, kind: sub.kind },
    verbs: sub.verbs,
  })),
})

const aggregated = (names: readonly string[]): object => ({
  kind: 'APIGroupDiscoveryList',
  apiVersion: 'apidiscovery.k8s.io/v2',
  metadata: {},
  items: names.map((group) => ({
    metadata: { name: group === '' ? null : group, creationTimestamp: null },
    versions: versionsOf(group).map((version) => ({
      version,
      resources: inGroup(group)
        .filter((kind) => kind.version === version)
        .map(aggregatedResource),
      freshness: 'Current',
    })),
  })),
})

/** Answers a path of discovery; undefined when it is none. */
export function discover(path: string, accept: string): { type: string; body: object | Buffer } | undefined {
  const wantsAll = /as=apigroupdiscoverylist/i.test(accept) && /v=v2(;|,|$)/i.test(accept)
  const answer = (body: object): { type: string; body: object } => ({ type: 'application/json', body })
  const list = (body: object): { type: string; body: object } => ({
    type: 'application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList',
    body,
  })
  switch (path.replace(/\/$/, '')) {
    case '/version':
      return answer(serverVersion)
    case '/api':
      return wantsAll
        ? list(aggregated(['']))
        : answer({ kind: 'APIVersions', versions: ['v1'], serverAddressByClientCIDRs: [] })
    case '/apis':
      return wantsAll
        ? list(aggregated(groups))
        : answer({ kind: 'APIGroupList', apiVersion: 'v1', groups: groups.map(groupDocument) })
    case '/openapi/v2':
      return accept.includes('protobuf') ? { type: openApiV2Type, body: encodeOpenApiV2() } : answer(openApiV2)
    case '/openapi/v3':
      return answer({
        paths: Object.fromEntries(
          groupVersions.map((one) => [
            pathOfGroup(one),
            { serverRelativeURL: `/openapi/v3/${pathOfGroup(one)}?hash=1` },
          ]),
        ),
      })
    default:
  }
  const [, root, group, version, ...more] = path.replace(/\/$/, '').split('/')
  if (root === 'openapi' && group === 'v3') {
    const wanted = groupVersions.find((one) => pathOfGroup(one) === [version, ...more].join('/'))
    return wanted === undefined ? undefined : answer(openApi(wanted))
  }
  if (more.length > 0) return undefined
  if (root === 'api' && group === 'v1' && version === undefined) return answer(resourceList('v1'))
  if (root !== 'apis' || group === undefined || !groups.includes(group)) return undefined
  if (version === undefined) return answer({ kind: 'APIGroup', apiVersion: 'v1', ...groupDocument(group) })
  return versionsOf(group).includes(version) ? answer(resourceList(`${group}/${version}`)) : undefined
}

const pathOfGroup = (groupVersion: string): string =>
  groupVersion.includes('/') ? `apis/${groupVersion}` : `api/${groupVersion}`

/** The document that `kubectl explain` and validation read. */
function openApi(groupVersion: string): object {
  const document = documentOf(groupVersion)
  const [group, version] = groupVersion.includes('/') ? groupVersion.split('/') : ['', groupVersion]
  const paths = Object.entries(document?.paths ?? {}).map(([path, methods]) => [
    path,
    Object.fromEntries(
      Object.entries(methods).map(([method, { action, kind, parameters }]) => [
        method,
        {
          'x-kubernetes-action': action,
          'x-kubernetes-group-version-kind': { group, version, kind },
          parameters: parameters.map((name) => ({
            name,
            in: path.includes(`{${name}}`) ? 'path' : 'query',
            schema: { type: 'string', uniqueItems: true },
          })),
          responses: { 200: { description: 'OK' } },
        },
      ]),
    ),
  ])
  return {
    openapi: '3.0.0',
    info: { title: 'Kubernetes', version: serverVersion.gitVersion },
    paths: Object.fromEntries(paths),
    components: { schemas: document?.schemas ?? {} },
  }
}
