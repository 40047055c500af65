#!/usr/bin/env node
// Not in dist, so that npm can link it into a clone before there is a build.
import { main } from '../dist/hostpath/main.js'

await main(process.argv.slice(2))
