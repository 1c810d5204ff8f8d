#!/bin/sh
# Every way to take the library into another project, on an installation that
# has been moved since: find_package, add_subdirectory, FetchContent and
# pkg-config, static and shared, without OpenMP and with it.
. "$(dirname "$0")/common.sh"
cmake=${BNFLOSS_CMAKE:-cmake}
need "$cmake" cc || finish
unset CMAKE_BUILD_TYPE CMAKE_PREFIX_PATH CMAKE_GENERATOR CFLAGS LDFLAGS
CMAKE_BUILD_PARALLEL_LEVEL=2
export CMAKE_BUILD_PARALLEL_LEVEL
consumer=$root/tests/build/consumer
cd "$scratch" || exit 1

run_consumer() {    # way, folder, definitions..
    way=$1 folder=$2
    shift 2
    try "$folder: configure" "$cmake" -S "$consumer" -B "$folder" -DWAY=$way \
        "$@" &&
        try "$folder: build" "$cmake" --build "$folder" &&
        try "$folder: run" "$folder/consumer"
}
# Debug, since an unoptimised library is quickly built.
install_as() {      # name, definitions..
    name=$1
    shift
    try "$name: configure" "$cmake" -S "$root" -B "$name-build" \
        -DCMAKE_BUILD_TYPE=Debug -DBNFLOSS_BUILD_TESTS=OFF \
        -DBNFLOSS_BUILD_EXAMPLES=OFF -DBNFLOSS_BUILD_BENCH=OFF \
        "-DCMAKE_INSTALL_PREFIX=$scratch/$name-first" "$@" &&
        try "$name: build" "$cmake" --build "$name-build" &&
        try "$name: install" "$cmake" --install "$name-build" &&
        try "$name: move" mv "$name-first" "$name"
}
pkg_config() {      # name, options..
    name=$1
    shift
    PKG_CONFIG_PATH=$(dirname "$(find "$scratch/$name" -name bnfloss.pc)") \
        pkg-config "$@" bnfloss
}
run_pkg_config() {  # name, options..
    name=$1
    need pkg-config || return 0
    try "$name: pkg-config" sh -c "cc $consumer/main.c \
        $(pkg_config "$@" --cflags --libs) -o $name-pc" &&
        try "$name: run" env LD_LIBRARY_PATH="$(pkg_config "$name" \
            --variable=libdir)" "./$name-pc"
    try "$name: version" test "$(pkg_config "$name" --modversion)" = \
        "$(sed -n 's/^#define BNFLOSS_VERSION "\(.*\)"/\1/p' \
            "$root/include/bnfloss.h")"
}

install_as static
run_consumer package static-found "-DCMAKE_PREFIX_PATH=$scratch/static"
run_pkg_config static
run_pkg_config static --static
refuse "version 0.99" "$cmake" -S "$consumer" -B refused -DWAY=package \
    -DVERSION=0.99 "-DCMAKE_PREFIX_PATH=$scratch/static"
refuse "a header that needs the tree" \
    grep -q '^ *# *include *"' static/include/bnfloss.h
refuse "paths of this machine" grep -rqIF "$scratch" static
refuse "paths of the tree" grep -rqIF "$root" static

install_as shared -DBUILD_SHARED_LIBS=ON
run_consumer package shared-found "-DCMAKE_PREFIX_PATH=$scratch/shared"
run_pkg_config shared
try "a shared library" sh -c 'ls shared/lib*/libbnfloss.so.*.*.* ||
    ls shared/lib*/*/libbnfloss.so.*.*.* || ls shared/lib/*.dylib'

printf 'int main(void) { return 0; }\n' >empty.c
if cc -fopenmp empty.c -o empty 2>/dev/null; then
    install_as openmp -DBNFLOSS_OPENMP=ON
    run_consumer package openmp-found "-DCMAKE_PREFIX_PATH=$scratch/openmp"
    run_pkg_config openmp
    install_as openmp-shared -DBNFLOSS_OPENMP=ON -DBUILD_SHARED_LIBS=ON
    run_pkg_config openmp-shared
else
    skip "this compiler has no OpenMP"
fi

run_consumer subdirectory sub "-DBNFLOSS_ROOT=$root"
try "archive" tar -czf bnfloss.tar.gz -C "$root" CMakeLists.txt LICENSE \
    include src pkgconfig
run_consumer fetch fetched "-DBNFLOSS_ARCHIVE=$scratch/bnfloss.tar.gz"

# What a packager keeps who strips the tests, the examples and the benchmarks.
mkdir stripped && try "unpack" tar -xzf bnfloss.tar.gz -C stripped &&
    root=$scratch/stripped && install_as from-stripped
same "the header of a stripped tree" static/include/bnfloss.h \
    from-stripped/include/bnfloss.h
finish
