import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, it } from 'vitest'
import { podTypesFile, podTypesText } from '../../../../tools/pod-types.ts'

it("the table of a pod's types is what the generator makes", () =>
  expect(readFileSync(join(import.meta.dirname, '../../../..', podTypesFile), 'utf8')).toBe(podTypesText()))
