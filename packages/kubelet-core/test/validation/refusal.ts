// What a manifest is refused with.
import { documentsOf } from '../../src/source/documents.ts'
import { ManifestError } from '../../src/source/manifest-error.ts'
import { staticPodOf } from '../../src/source/manifest.ts'

const facts = { nodeName: 'node-1', origin: { path: '/m/web.yaml' }, seenMs: 0 }

/** The message for a text; empty where it is a static pod. */
export function refusal(text: string): string {
  try {
    staticPodOf(documentsOf(text)[0], facts)
    return ''
  } catch (error) {
    if (error instanceof ManifestError) return error.message
    throw error
  }
}

/** @param fields of the pod's metadata, in YAML's flow style */
export const ofMetadata = (fields: string): string =>
  refusal(`apiVersion: v1\nkind: Pod\nmetadata: {${fields}}\nspec: {containers: [{name: a, image: i}]}`)

/** @param fields of the spec beside one plain container */
export const ofSpec = (fields: string): string =>
  refusal(
    `apiVersion: v1\nkind: Pod\nmetadata: {name: web}\nspec: {${fields.includes('containers:') ? '' : 'containers: [{name: a, image: i}], '}${fields}}`,
  )

/** @param fields of the container; @param more of the spec */
export const ofContainer = (fields: string, more = ''): string =>
  ofSpec(`containers: [{name: a, image: i, ${fields}}], ${more}`)

/** @param fields of the container */
export const ofInitContainer = (fields: string): string =>
  ofSpec(`containers: [{name: a, image: i}], initContainers: [{name: b, image: i, ${fields}}]`)
